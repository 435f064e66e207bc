//! What ends a run, as opposed to one certificate: kind, message, source, hints.

use std::fmt;

use crate::domain::outcome::Exit;

/// An error that ends the program.
#[derive(Debug)]
pub struct Error {
    /// Which exit code.
    pub kind: Kind,
    /// A lower-case fragment that names the file, identifier or URL.
    pub message: String,
    /// What was below it.
    pub source: Option<anyhow::Error>,
    /// What to do next, a line each.
    pub hints: Vec<String>,
}

/// Why a program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The config is wrong.
    Config,
    /// This machine is in the way: disk, permissions.
    Local,
    /// Another run held the lock for too long.
    Locked,
    /// SIGINT.
    Interrupted,
    /// SIGTERM.
    Terminated,
    /// The command line is wrong.
    Usage,
}

/// The result of everything that may end the program.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with a kind and a message.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None, hints: Vec::new() }
    }

    /// Adds what was below it.
    #[must_use]
    pub fn from_source(mut self, source: impl Into<anyhow::Error>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds the next action.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The exit code that this kind ends the program with.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self.kind {
            Kind::Config | Kind::Usage => Exit::Usage,
            Kind::Local => Exit::Failed,
            Kind::Locked => Exit::Locked,
            Kind::Interrupted => Exit::Interrupted,
            Kind::Terminated => Exit::Terminated,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(source) = &self.source {
            write!(f, ": {source:#}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
