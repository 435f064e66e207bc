//! How a step ended, and how a run ends.

use serde::Serialize;

use super::problem::Failure;

/// How a step ended.
///
/// A failed certificate is a value like any other: it never stops the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an outcome that nobody reads is a failure that nobody sees"]
pub enum Outcome {
    /// It is done.
    Done,
    /// It failed.
    Failed(Failure),
    /// Neither: it is kept, and a later run goes on with it.
    Pending(Failure),
}

/// The exit codes of every verb: documented, stable.
///
/// Ordered so that the worse one wins: 5 over 1 over 3 over 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Exit {
    /// 0: all is as it should be: nothing due, or waiting as planned.
    #[default]
    Ok,
    /// 3: issued, but a deployment is pending.
    DeployPending,
    /// 1: a certificate failed in this run, or is past its danger point without a new one.
    Failed,
    /// 5: a person is needed.
    PersonNeeded,
    /// 2: usage or config.
    Usage,
    /// 4: another run held the lock past the wait.
    Locked,
    /// 130: ended by SIGINT.
    Interrupted,
    /// 143: ended by SIGTERM.
    Terminated,
}

impl Exit {
    /// The number that the process exits with.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::DeployPending => 3,
            Self::Locked => 4,
            Self::PersonNeeded => 5,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn the_worse_one_wins() {
        let mut codes = [Exit::Ok, Exit::Failed, Exit::PersonNeeded, Exit::DeployPending];
        codes.sort_unstable();
        assert_eq!(codes.map(Exit::code), [0, 3, 1, 5]);
    }
}
