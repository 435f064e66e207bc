//! Words for people on standard error, data on standard output. Neither can make the program fail.

use std::io::{IsTerminal as _, Write as _};

use crate::domain::name::Name;
use crate::domain::problem::Failure;
use crate::domain::text::escape;
use crate::error::Error;
use crate::ports::Progress;

/// The terminal, the mail of a cron job, or a journal.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    /// `-v`.
    pub verbose: bool,
    /// `-q`: failures only.
    pub quiet: bool,
    /// Whether a person watches: then a failure is told each time.
    pub watched: bool,
}

impl Console {
    /// A console with these options; whether a person watches is asked of standard error.
    #[must_use]
    pub fn new(verbose: bool, quiet: bool) -> Self {
        Self { verbose, quiet, watched: std::io::stderr().is_terminal() }
    }

    /// Tells what ended the program, and what to do next.
    pub fn error(&self, error: &Error) {
        word(&format!("certctl: {}", escape_lines(&error.to_string())));
        for hint in &error.hints {
            word(&format!("  hint: {}", escape_lines(hint)));
        }
    }

    /// Writes a line about the program, unless `-q`.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            word(text);
        }
    }
}

impl Progress for Console {
    fn changed(&self, name: &Name, text: &str) {
        if !self.quiet {
            word(&format!("{name}: {text}"));
        }
    }

    fn failed(&self, name: &Name, failure: &Failure, repeated: bool) {
        // The mail of a cron job each hour teaches people not to read it.
        if repeated && !self.verbose && !self.watched {
            return;
        }
        word(&format!("{name}: failed: {failure}"));
        if let Some(hint) = &failure.hint {
            word(&format!("  hint: {}", escape(hint)));
        }
    }

    fn detail(&self, name: &Name, text: &str) {
        if self.verbose {
            word(&format!("{name}: {text}"));
        }
    }

    fn warn(&self, text: &str, hint: Option<&str>) {
        word(&format!("certctl: {text}"));
        if let Some(hint) = hint {
            word(&format!("  hint: {hint}"));
        }
    }
}

/// Writes data to standard output; where that is gone, there is nobody to tell.
pub fn data(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// One line to standard error in one write, so that parallel certificates do not mix.
///
/// `eprintln!` panics when the pipe or the disk behind it is gone; this does not.
fn word(text: &str) {
    let line = format!("{text}\n");
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

/// As [`escape`], but keeps the line breaks of a message that certctl itself made.
fn escape_lines(text: &str) -> String {
    text.lines().map(escape).collect::<Vec<_>>().join("\n  ")
}
