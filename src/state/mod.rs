//! What is remembered about a certificate: facts, never deadlines.
//!
//! `plan` derives the deadlines, so a rule that changes tomorrow changes them too.

mod event;
mod format;

pub use event::{Event, record};
pub use format::{Read, Unfit, parse, render};

use serde::{Deserialize, Serialize};

use crate::domain::inventory::Generation;
use crate::domain::name::{Directory, Identifier};
use crate::domain::problem::Failure;
use crate::domain::request::Request;
use crate::domain::step::TargetId;
use crate::domain::time::Time;

/// What is remembered about one certificate: `state/<name>.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Since when something is wanted that no attempt has brought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needed_since: Option<Time>,
    /// The theoretical arrival time of the issuance limit ([`crate::domain::bucket::ISSUANCES`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuances: Option<Time>,
    /// The order that was begun and not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<OpenOrder>,
    /// What was installed last, for whoever may read this and not the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installed: Option<Installed>,
    /// The last [`Facts::MAX_ATTEMPTS`] attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// Where the live generation is, a row a target.
    pub deployments: Vec<Deployment>,
}

impl Facts {
    /// How many attempts are remembered.
    pub const MAX_ATTEMPTS: usize = 20;

    /// What is remembered of a target.
    #[must_use]
    pub fn deployment(&self, target: &TargetId) -> Option<&Deployment> {
        self.deployments.iter().find(|d| d.target == *target)
    }

    /// The newest attempt.
    #[must_use]
    pub fn last_attempt(&self) -> Option<&Attempt> {
        self.attempts.last()
    }
}

/// An order that was begun and not ended: what a run needs to go on with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenOrder {
    /// The CA.
    pub at: Directory,
    /// Our account there.
    pub account: String,
    /// The order's URL.
    pub url: String,
    /// When it was placed.
    pub placed: Time,
    /// What it asks for.
    pub request: Request,
    /// The challenges that were made ready to be answered.
    #[serde(default)]
    pub answers: Vec<Answer>,
}

/// A challenge that was presented: what a killed run may have left to be swept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// For which name.
    pub identifier: Identifier,
    /// The challenge's token, checked.
    pub token: String,
}

/// What was installed last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// In which generation.
    pub generation: Generation,
    /// Start of validity.
    pub not_before: Time,
    /// End of validity.
    pub not_after: Time,
    /// Who signed it.
    pub issuer: String,
    /// SHA-256 of the leaf, in hexadecimal.
    pub fingerprint: String,
}

/// One try to get a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began; written before the CA heard of it.
    pub started: Time,
    /// When it ended; `None` where the run was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Time>,
    /// The CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Directory>,
    /// How it ended.
    pub result: Ended,
    /// Why, where it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// It failed.
    Failed,
    /// A certificate was installed.
    Issued,
    /// The CA had not finished; the order is kept.
    Pending,
    /// Not yet: it runs, or the run was killed.
    Unknown,
}

/// How far a generation got at a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// The target.
    pub target: TargetId,
    /// The generation that was brought there, or tried to.
    pub generation: Generation,
    /// Of the target's own settings: a changed target is a new one.
    pub fingerprint: String,
    /// When it arrived; `None` while it is pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Time>,
    /// Failures in a row.
    #[serde(default)]
    pub failures: u32,
    /// When it was tried last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried: Option<Time>,
    /// What it said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
