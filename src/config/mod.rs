//! The config: text to values that cannot hold an invalid name.
//!
//! Parse, don't validate: past this module there are no raw strings for names, paths or times.
//! Every error has file, line, key and a hint, and all errors of all files come at once.

mod ca;
mod hints;
mod scan;
mod schema;
mod values;
mod walk;

pub use ca::{Ca, Eab, PRESETS, Secret};
pub use scan::scan_state_dir;
pub use schema::{issue, parse};

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::access::Access;
use crate::domain::hash::{hex, sha256_parts};
use crate::domain::name::{Directory, Identifier, Name};
use crate::domain::request::Request;
use crate::domain::step::TargetId;

/// Everything that the config files say, resolved.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where accounts are told to write to a person.
    pub email: Option<String>,
    /// Where certctl keeps its state, where the config says it.
    pub state_dir: Option<PathBuf>,
    /// How many certificates are worked on at a time.
    pub parallel: usize,
    /// How long a run waits for another one to end.
    pub lock_wait: Duration,
    /// How long a run may take.
    pub deadline: Duration,
    /// How HTTP reaches the CAs.
    pub proxy: Proxy,
    /// Where the http-01 listener binds; empty means the defaults, `[::]` and `0.0.0.0`.
    pub listen_http: Vec<SocketAddr>,
    /// The CAs that certificates name.
    pub cas: BTreeMap<Directory, Ca>,
    /// The certificates, in the order of the files.
    pub certificates: Vec<Certificate>,
    /// Every file that the config names and that changes what it means: roots, secrets.
    pub files: Vec<PathBuf>,
}

/// How HTTP reaches the CAs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// As `HTTPS_PROXY` and its kin say.
    Env,
    /// Directly.
    None,
    /// Through this one.
    Url(String),
}

/// One `[[certificate]]`, valid by construction: defaults folded in, one challenge chosen per name.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// What people call it.
    pub name: Name,
    /// Its names in the config's order; the first is the common one.
    pub domains: Vec<Identifier>,
    /// What a CA is asked for.
    pub request: Request,
    /// The CAs that may issue it, best first.
    pub cas: Vec<Directory>,
    /// How each name is proven.
    pub challenges: BTreeMap<Identifier, Challenge>,
    /// Whether a renewal makes a new key.
    pub key: KeyPolicy,
    /// Who may read it.
    pub access: Access,
    /// How many generations are kept.
    pub keep: usize,
    /// What is run after a change.
    pub deploy: Option<Vec<String>>,
    /// Where it was written.
    pub origin: Origin,
}

impl Certificate {
    /// The targets that its generations go to, each with the fingerprint of its settings.
    #[must_use]
    pub fn targets(&self) -> Vec<(TargetId, String)> {
        let Access { owner, group, mode } = self.access;
        let id = |id: Option<u32>| id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let files = format!("{}:{}:{mode:04o}", id(owner), id(group));
        let mut targets = vec![(TargetId(TargetId::FILES.to_owned()), files)];
        if let Some(argv) = &self.deploy {
            let parts: Vec<&[u8]> = argv.iter().map(String::as_bytes).collect();
            targets.push((TargetId(TargetId::HOOK.to_owned()), hex(&sha256_parts(&parts)[..8])));
        }
        targets
    }
}

/// How control of a name is proven: one type per name, chosen before any order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Challenge {
    /// http-01 by a listener of our own, where `[listen]` says, else on this port of every address.
    Standalone {
        /// Where the CA's validators connect.
        port: u16,
    },
    /// http-01 by a file below this directory, which a web server shows.
    Webroot(PathBuf),
}

impl Challenge {
    /// The challenge type in the protocol (RFC 8555 §8).
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Standalone { .. } | Self::Webroot(_) => "http-01",
        }
    }
}

/// Whether a renewal makes a new key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyPolicy {
    /// A new key each time.
    #[default]
    Rotate,
    /// The same key as long as its type fits.
    Reuse,
}

/// Where in the config something was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 where it came from the command line.
    pub line: usize,
}

/// One config file, read.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its path, for messages and as the base of relative paths.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
    /// Whether its group or others may read it: then it must hold no secret.
    pub shared: bool,
}

/// What stands for a file in messages about arguments.
pub const COMMAND_LINE: &str = "command line";

/// What the config must ask the host for; the numbers behind names.
pub trait Host {
    /// The id of a user; `None` where there is none.
    fn user(&self, name: &str) -> Option<u32>;
    /// The id of a group; `None` where there is none.
    fn group(&self, name: &str) -> Option<u32>;
}

/// One thing that is wrong with the config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Where.
    pub origin: Origin,
    /// The key, where one is to blame: `certificate.domains`.
    pub key: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { file, line } = &self.origin;
        if *line == 0 || file.as_os_str() == COMMAND_LINE {
            write!(f, "{}: ", file.display())?;
        } else {
            write!(f, "{}:{line}: ", file.display())?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&crate::domain::text::escape(&self.message))
    }
}
