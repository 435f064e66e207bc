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
        let result = if target.0 == TargetId::FILES {
            let access = ports.vault.set_access(&certificate.name, held.generation, certificate.access);
            access.map_err(Failure::from)
        } else {
            ports.progress.detail(&certificate.name, "running the deploy command");
            ports.deployer.deploy(certificate, target, held, *deadline)
        };
        let (generation, target) = (held.generation, target.clone());
        let event = match &result {
            Ok(()) => Event::Deployed { target, generation, fingerprint },
            Err(failure) => Event::DeployFailed { target, generation, fingerprint, failure: failure.clone() },
        };
        let told = ports.journal.facts(&certificate.name).deployments.iter().any(|d| d.done.is_none() && d.failures > 0) && !asked;
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
