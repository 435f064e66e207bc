//! Carries out one step through ports, in order, and chooses nothing.

mod deploy;
mod order;

use crate::config::Certificate;
use crate::domain::inventory::Holding;
use crate::domain::outcome::Outcome;
use crate::domain::step::Step;
use crate::domain::time::Time;
use crate::ports::Ports;
use crate::state::Event;

/// One certificate's step, with what it may use.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// The certificate.
    pub certificate: &'a Certificate,
    /// What the vault held when the step was decided.
    pub holding: &'a Holding,
    /// The world.
    pub ports: Ports<'a>,
    /// When the step must have ended.
    pub deadline: Time,
    /// A person named the certificate: what they were told before is told again.
    pub asked: bool,
}

/// Carries out a step.
pub fn execute(job: &Job<'_>, step: &Step) -> Outcome {
    match step {
        Step::Order { at } => order::place(job, at),
        Step::Resume { order, at } => order::resume(job, order, at),
        Step::Restore { generation } => match job.ports.vault.restore(&job.certificate.name, *generation) {
            Ok(()) => {
                let text = format!("live link restored to generation {generation}");
                job.ports.progress.changed(&job.certificate.name, &text);
                Outcome::Done
            }
            Err(error) => fail(job, error.into()),
        },
        Step::Deploy { generation: _, targets } => deploy::deploy(job, targets),
        Step::Wait { .. } | Step::Nothing { .. } => Outcome::Done,
    }
}

/// Remembers a failure that has nothing to do with an order, and hands it on.
fn fail(job: &Job<'_>, failure: crate::domain::problem::Failure) -> Outcome {
    // Where even this cannot be written, the failure itself is told all the same.
    let _ = job.ports.journal.note(&job.certificate.name, Event::Failed { failure: failure.clone() });
    Outcome::Failed(failure)
}
