//! Words for people on standard error, data on standard output. Neither can make the program fail.

use std::io::Write as _;

use crate::domain::name::Name;
use crate::domain::problem::Failure;
use crate::domain::text::escape;
use crate::error::{Error, Kind, Result};
use crate::ports::Progress;

/// The terminal, the mail of a cron job, or a journal.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    /// `-v`.
    pub verbose: bool,
    /// `-q`: failures only.
    pub quiet: bool,
    /// Whether a person watches: then a failure is told each time, and what goes on is shown while it does.
    pub watched: bool,
}

impl Console {
    /// A console with these options; whether a person watches is asked of standard error.
    #[must_use]
    pub fn new(verbose: bool, quiet: bool) -> Self {
        Self { verbose, quiet, watched: super::host::is_terminal() }
    }

    /// Takes the line about what goes on from the terminal: it is over.
    pub fn done(&self) {
        if self.is_live() {
            let _ = std::io::stderr().lock().write_all(CLEAR.as_bytes());
        }
    }

    /// Whether what goes on is shown on one line that comes and goes.
    fn is_live(&self) -> bool {
        self.watched && !self.verbose && !self.quiet
    }

    /// One line to standard error in one write, so that parallel certificates do not mix.
    ///
    /// `eprintln!` panics when the pipe or the disk behind it is gone; this does not.
    fn word(&self, text: &str) {
        let clear = if self.is_live() { CLEAR } else { "" };
        let line = format!("{clear}{text}\n");
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }

    /// Tells what ended the program, and what to do next.
    pub fn error(&self, error: &Error) {
        self.word(&format!("certctl: {}", escape_lines(&error.to_string())));
        for hint in &error.hints {
            self.word(&format!("  hint: {}", escape_lines(hint)));
        }
    }

    /// Writes a line about the program, unless `-q`.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            self.word(text);
        }
    }
}

impl Progress for Console {
    fn changed(&self, name: &Name, text: &str) {
        if !self.quiet {
            self.word(&format!("{name}: {text}"));
        }
    }

    fn failed(&self, name: &Name, failure: &Failure, repeated: bool) {
        // The mail of a cron job each hour teaches people not to read it.
        if repeated && !self.verbose && !self.watched {
            return;
        }
        self.word(&format!("{name}: failed: {failure}"));
        self.word(&format!("  hint: {}", escape(failure.advice())));
    }

    fn detail(&self, name: &Name, text: &str) {
        if self.verbose {
            self.word(&format!("{name}: {text}"));
        } else if self.is_live() {
            // Cut, so that it never wraps: a second line would stay behind.
            let line: String = format!("{name}: {text}").chars().take(78).collect();
            let _ = std::io::stderr().lock().write_all(format!("{CLEAR}{line}").as_bytes());
        }
    }

    fn note(&self, text: &str) {
        self.say(&format!("certctl: {text}"));
    }

    fn warn(&self, text: &str, hint: Option<&str>) {
        self.word(&format!("certctl: {text}"));
        if let Some(hint) = hint {
            self.word(&format!("  hint: {hint}"));
        }
    }
}

/// Writes data to standard output.
///
/// # Errors
///
/// Where it could not be written, unless nobody reads it any more: `head` has seen enough.
pub fn data(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::new(Kind::Local, "writing to standard output").from_source(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// As [`escape`], but keeps the line breaks of a message that certctl itself made.
fn escape_lines(text: &str) -> String {
    let line = |line: &str| format!("{}{}", &line[..line.len() - line.trim_start().len()], escape(line));
    text.lines().map(line).collect::<Vec<_>>().join("\n  ")
}

/// To the start of the line, and what stands there goes.
const CLEAR: &str = "\r\u{1b}[2K";
