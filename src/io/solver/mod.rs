//! The answers to challenges.

mod standalone;
mod webroot;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use crate::config::Challenge;
use crate::domain::problem::Failure;
use crate::domain::text::is_token;
use crate::ports::{Presented, Solver};

pub use standalone::Standalone;
pub use webroot::Webroots;

/// Every way of answering that the config can choose.
pub struct Solvers {
    listen: Vec<SocketAddr>,
    /// By port; where `[listen]` names addresses there is one for all.
    standalone: Mutex<BTreeMap<u16, Standalone>>,
    webroots: Webroots,
}

impl Solvers {
    /// Solvers whose listener binds to these addresses; with none, to a CA's port of every address.
    #[must_use]
    pub fn new(listen: &[SocketAddr]) -> Self {
        Self { listen: listen.to_vec(), standalone: Mutex::default(), webroots: Webroots::default() }
    }

    fn standalone(&self, port: u16) -> Standalone {
        let key = if self.listen.is_empty() { port } else { 0 };
        let mut all = self.standalone.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(key).or_insert_with(|| Standalone::new(&self.listen, port)).clone()
    }

    /// Removes every answer that is visible: the run ends and nothing of it may stay.
    pub fn withdraw_all(&self) {
        self.webroots.withdraw_all();
    }
}

impl Solver for Solvers {
    fn ready(&self, challenge: &Challenge) -> Result<(), Failure> {
        match challenge {
            Challenge::Standalone { port } => self.standalone(*port).ready(),
            Challenge::Webroot(root) => self.webroots.ready(root),
        }
    }

    fn present(&self, challenge: &Challenge, token: &str, key_authorization: &str) -> Result<Box<dyn Presented>, Failure> {
        match challenge {
            Challenge::Standalone { port } => self.standalone(*port).present(token, key_authorization),
            Challenge::Webroot(root) => self.webroots.present(root, token, key_authorization),
        }
    }

    fn sweep(&self, challenge: &Challenge, token: &str) {
        match challenge {
            // A listener ends with its process.
            Challenge::Standalone { .. } => {}
            Challenge::Webroot(root) => self.webroots.sweep(root, token),
        }
    }
}

/// RFC 8555 §8.3: base64url and nothing else, before it becomes a path or a header.
fn check_token(token: &str) -> Result<(), Failure> {
    if is_token(token) {
        Ok(())
    } else {
        Err(Failure::new(crate::domain::problem::Class::Ca, "protocol", "the CA's token is not base64url"))
    }
}
