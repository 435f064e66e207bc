//! What to do next about a certificate, and why.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::inventory::Generation;
use super::name::{Directory, Identifier, IdentifierSet};
use super::problem::Failure;
use super::request::KeyType;
use super::time::Time;

/// Where a generation goes after it was installed; a key in the state, so it never changes its spelling.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TargetId(pub String);

impl TargetId {
    /// The generation's own files: their owner, group and mode.
    pub const FILES: &str = "files";
    /// The inline `deploy` command.
    pub const HOOK: &str = "deploy";
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What to do next about one certificate.
///
/// Executing it leaves no choice open; printing it explains the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Go on with the order that an earlier run left behind.
    Resume {
        /// Its URL.
        order: String,
        /// The CA that it was placed at.
        at: Directory,
    },
    /// Place an order, answer its challenges, install what comes.
    Order {
        /// The CA.
        at: Directory,
    },
    /// Point the live link at a generation that is whole; the CA is not needed.
    Restore {
        /// The generation.
        generation: Generation,
    },
    /// Bring the live generation to these targets.
    Deploy {
        /// The generation.
        generation: Generation,
        /// The targets that do not have it yet.
        targets: Vec<TargetId>,
    },
    /// Something is wanted, and this is the instant at which it may be tried.
    Wait {
        /// The instant.
        until: Time,
    },
    /// Nothing is wanted before this instant.
    Nothing {
        /// The instant.
        until: Time,
    },
}

impl Step {
    /// The kind of the step as one word, for programs.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Resume { .. } => Kind::Resume,
            Self::Order { .. } => Kind::Order,
            Self::Restore { .. } => Kind::Restore,
            Self::Deploy { .. } => Kind::Deploy,
            Self::Wait { .. } => Kind::Wait,
            Self::Nothing { .. } => Kind::Nothing,
        }
    }

    /// When something is to be done next: `None` means now.
    #[must_use]
    pub const fn until(&self) -> Option<Time> {
        match self {
            Self::Wait { until } | Self::Nothing { until } => Some(*until),
            Self::Resume { .. } | Self::Order { .. } | Self::Restore { .. } | Self::Deploy { .. } => None,
        }
    }
}

/// The kinds of [`Step`]; each is taken at most once per certificate and run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "they are documented on Step")]
pub enum Kind {
    Resume,
    Order,
    Restore,
    Deploy,
    Wait,
    Nothing,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resume => "resume",
            Self::Order => "order",
            Self::Restore => "restore",
            Self::Deploy => "deploy",
            Self::Wait => "wait",
            Self::Nothing => "nothing",
        })
    }
}

/// A step and why: what `plan`, `status` and `-v` say comes from here and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a decision that nobody carries out or prints explains nothing"]
pub struct Decision {
    /// What.
    pub step: Step,
    /// Why.
    pub reason: Reason,
}

/// Why a [`Step`] is the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no certificate.
    Missing,
    /// What is there cannot serve.
    Damaged(String),
    /// What is there cannot be read.
    Unreadable(String),
    /// The config names these, the certificate does not.
    NamesAdded(IdentifierSet),
    /// The certificate was asked for with these, the config no longer names them.
    NamesRemoved(IdentifierSet),
    /// The key is of another type than the config wants.
    KeyTypeDiffers {
        /// What is there; `None` for a kind that certctl does not make.
        held: Option<KeyType>,
        /// What the config wants.
        wanted: KeyType,
    },
    /// It was asked for with another profile.
    ProfileDiffers {
        /// What it was asked for with.
        held: Option<String>,
        /// What the config wants.
        wanted: Option<String>,
    },
    /// Its CA is not among the configured ones.
    CaDiffers {
        /// The CA that issued it.
        held: Directory,
    },
    /// `--force`.
    Forced,
    /// It has expired.
    Expired {
        /// When.
        at: Time,
    },
    /// It is past its renewal instant.
    Due {
        /// The renewal instant.
        since: Time,
        /// When it expires.
        expires: Time,
    },
    /// All is well until the renewal instant.
    NotDue {
        /// When it expires.
        expires: Time,
    },
    /// An earlier run did not finish this order.
    OrderOpen {
        /// When it was placed.
        placed: Time,
    },
    /// The live link is gone, and a whole generation is there.
    LinkMissing,
    /// A target does not have the live generation yet.
    NotDeployed,
    /// A deployment failed and is repeated later.
    DeployFailed {
        /// How often in a row.
        failures: u32,
        /// What it said last.
        detail: String,
    },
    /// This step failed in this run; a later run goes on.
    FailedNow(Box<Failure>),
    /// It was issued too often lately.
    TooOften {
        /// Why it is wanted again.
        wanted: Box<Self>,
    },
    /// Another run, which this one waited for, has just tried.
    Adopted(Option<Box<Failure>>),
    /// The run's time is up.
    DeadlinePassed,
}

impl Reason {
    /// One word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Damaged(_) => "damaged",
            Self::Unreadable(_) => "unreadable",
            Self::NamesAdded(_) => "names-added",
            Self::NamesRemoved(_) => "names-removed",
            Self::KeyTypeDiffers { .. } => "key-type",
            Self::ProfileDiffers { .. } => "profile",
            Self::CaDiffers { .. } => "ca",
            Self::Forced => "forced",
            Self::Expired { .. } => "expired",
            Self::Due { .. } => "due",
            Self::NotDue { .. } => "not-due",
            Self::OrderOpen { .. } => "order-open",
            Self::LinkMissing => "link-missing",
            Self::NotDeployed => "not-deployed",
            Self::DeployFailed { .. } => "deploy-failed",
            Self::FailedNow(_) => "failed",
            Self::TooOften { .. } => "too-often",
            Self::Adopted(_) => "adopted",
            Self::DeadlinePassed => "deadline",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no certificate yet"),
            Self::Damaged(why) => write!(f, "the certificate on disk is damaged: {why}"),
            Self::Unreadable(why) => write!(f, "the certificate on disk cannot be read: {why}"),
            Self::NamesAdded(names) => write!(f, "the config adds {}", list(names)),
            Self::NamesRemoved(names) => write!(f, "the config no longer has {}", list(names)),
            Self::KeyTypeDiffers { held, wanted } => {
                let held = held.map_or("of another kind", KeyType::as_str);
                write!(f, "the key is {held}, the config wants {wanted}")
            }
            Self::ProfileDiffers { held, wanted } => {
                let text = |p: &Option<String>| p.as_ref().map_or_else(|| "no profile".to_owned(), |p| format!("profile `{p}`"));
                write!(f, "it was asked for with {}, the config wants {}", text(held), text(wanted))
            }
            Self::CaDiffers { held } => write!(f, "it was issued by {held}, which the config no longer names"),
            Self::Forced => f.write_str("forced"),
            Self::Expired { at } => write!(f, "it expired at {at}"),
            Self::Due { since, expires } => write!(f, "due since {since}, expires {expires}"),
            Self::NotDue { expires } => write!(f, "valid until {expires}"),
            Self::OrderOpen { placed } => write!(f, "an order of {placed} is still open"),
            Self::LinkMissing => f.write_str("the live link is gone, its generation is whole"),
            Self::NotDeployed => f.write_str("the live certificate is not deployed yet"),
            Self::DeployFailed { failures, detail } => {
                let times = if *failures == 1 { "once".to_owned() } else { format!("{failures} times") };
                write!(f, "the deployment failed {times}: {}", super::text::escape(detail))
            }
            Self::FailedNow(failure) => write!(f, "failed: {failure}"),
            Self::TooOften { wanted } => {
                write!(f, "{wanted}; it may be issued five times in a row and then once a day (once, where its state was lost)")
            }
            Self::Adopted(None) => f.write_str("another run has just done it"),
            Self::Adopted(Some(failure)) => write!(f, "another run has just tried: {failure}"),
            Self::DeadlinePassed => f.write_str("the run's time is up; the next run goes on"),
        }
    }
}

fn list(names: &IdentifierSet) -> String {
    let shown: Vec<String> = names.iter().take(5).map(Identifier::to_string).collect();
    match names.len() {
        0..=5 => shown.join(", "),
        n => format!("{} and {} more", shown.join(", "), n - 5),
    }
}
