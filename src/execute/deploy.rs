//! Brings the live generation to its targets.

use crate::domain::outcome::Outcome;
use crate::domain::problem::Failure;
use crate::domain::step::TargetId;
use crate::state::Event;

use super::Job;

/// Tries each target once; one that fails does not keep the others from it.
pub(super) fn deploy(job: &Job<'_>, targets: &[TargetId]) -> Outcome {
    let Job { certificate, holding, ports, deadline, asked } = job;
    let Some(held) = holding.held() else { return Outcome::Done };
    let mut first = None;
    for target in targets {
        let Some((_, fingerprint)) = certificate.targets().into_iter().find(|(t, _)| t == target) else { continue };
        let (generation, target) = (held.generation, target.clone());
        let before = ports.journal.facts(&certificate.name).deployment(&target).filter(|d| d.fingerprint == fingerprint).cloned();
        let result = if target.0 == TargetId::FILES {
            let access = ports.vault.set_access(&certificate.name, certificate.access);
            access.map_err(Failure::from)
        } else {
            // Counted before it runs: a command that kills us must not be run by every run.
            let begun = Event::Deploying { target: target.clone(), generation, fingerprint: fingerprint.clone() };
            ports.progress.detail(&certificate.name, "running the deploy command");
            ports.journal.note(&certificate.name, begun).and_then(|()| ports.deployer.deploy(certificate, &target, held, *deadline))
        };
        if result.is_err() && ports.clock.stopped() && ports.clock.now() < *deadline {
            // Not the command's fault; the next run tries it at once.
            let event = Event::DeployStopped { target };
            let _ = ports.journal.note(&certificate.name, event);
            return Outcome::Done;
        }
        // A changed command, another exit status: people have not been told that.
        let told = result.as_ref().err().is_some_and(|failure| {
            before.and_then(|d| d.detail).is_some_and(|detail| detail.starts_with(&crate::domain::text::escape(&failure.message))) && !asked
        });
        let event = match &result {
            Ok(()) => Event::Deployed { target, generation, fingerprint },
            Err(failure) => Event::DeployFailed { target, generation, fingerprint, failure: failure.clone() },
        };
        match (result, ports.journal.note(&certificate.name, event)) {
            (Ok(()), Ok(())) => ports.progress.detail(&certificate.name, "deployed"),
            (Err(failure), noted) => {
                ports.progress.failed(&certificate.name, &failure, told);
                first.get_or_insert(failure);
                if let Err(failure) = noted {
                    ports.progress.failed(&certificate.name, &failure, false);
                }
            }
            (Ok(()), Err(failure)) => {
                ports.progress.failed(&certificate.name, &failure, false);
                first.get_or_insert(failure);
            }
        }
    }
    first.map_or(Outcome::Done, Outcome::Failed)
}
