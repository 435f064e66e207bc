//! What must hold of every decision, whatever the rules say.

use crate::domain::step::{Decision, Kind};

use super::SoFar;

/// Checks a decision against the run so far.
///
/// # Errors
///
/// Which invariant it breaks: the driver then ends this certificate's part of the run, so that a
/// mistake in a rule costs one step and never a loop.
pub fn check(decision: &Decision, run: &SoFar) -> Result<(), String> {
    let kind = decision.step.kind();
    match kind {
        Kind::Wait | Kind::Nothing => Ok(()),
        Kind::Resume | Kind::Order | Kind::Restore | Kind::Deploy if run.taken.contains(&kind) => {
            Err(format!("`{kind}` would come twice in one run"))
        }
        Kind::Resume if run.taken.contains(&Kind::Order) => Err("`resume` would follow `order` in one run".to_owned()),
        Kind::Resume | Kind::Order if run.failed.is_some() => Err(format!("`{kind}` would follow a failure in one run")),
        Kind::Resume | Kind::Order | Kind::Restore | Kind::Deploy => Ok(()),
    }
}
