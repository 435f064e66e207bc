//! Events, and the one way from an event to a fact.

use crate::domain::bucket::ISSUANCES;
use crate::domain::inventory::Generation;
use crate::domain::name::Directory;
use crate::domain::problem::Failure;
use crate::domain::request::Request;
use crate::domain::step::TargetId;
use crate::domain::time::Time;

use super::{Answer, Attempt, Deployment, Ended, Facts, Installed, OpenOrder};

/// A fact worth remembering, announced before it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An attempt begins: nothing has left this machine yet.
    Intent {
        /// The CA.
        at: Directory,
        /// Whether it goes on with an order: what that was wanted for may not be wanted any more.
        resumes: bool,
    },
    /// An order was placed.
    OrderPlaced {
        /// The CA.
        at: Directory,
        /// Our account there.
        account: String,
        /// The order's URL.
        url: String,
        /// What it asks for.
        request: Request,
    },
    /// Challenges are about to be presented and answered.
    Answering {
        /// Which.
        answers: Vec<Answer>,
    },
    /// The CSR is about to be sent: from here on the CA may issue.
    Finalizing,
    /// A new certificate is live.
    Installed {
        /// What it is.
        installed: Installed,
    },
    /// The open order is of no more use.
    OrderClosed,
    /// The attempt failed; the open order, where there is one, stays.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// The attempt ended without an end; the open order stays.
    Suspended {
        /// Why.
        failure: Failure,
    },
    /// A generation is about to be brought to a target.
    Deploying {
        /// The target.
        target: TargetId,
        /// The generation.
        generation: Generation,
        /// Of the target's settings.
        fingerprint: String,
    },
    /// It was interrupted by the end of the run, which is nobody's failure.
    DeployStopped {
        /// The target.
        target: TargetId,
    },
    /// A generation arrived at a target.
    Deployed {
        /// The target.
        target: TargetId,
        /// The generation.
        generation: Generation,
        /// Of the target's settings.
        fingerprint: String,
    },
    /// A generation did not arrive at a target.
    DeployFailed {
        /// The target.
        target: TargetId,
        /// The generation.
        generation: Generation,
        /// Of the target's settings.
        fingerprint: String,
        /// Why.
        failure: Failure,
    },
}

/// Folds an event into the facts. Total: every event fits every state.
#[must_use]
pub fn record(mut facts: Facts, event: Event, now: Time) -> Facts {
    match event {
        Event::Intent { at, resumes } => {
            if !resumes {
                facts.needed_since.get_or_insert(now);
            }
            facts.attempts.push(Attempt { started: now, finished: None, at: Some(at), result: Ended::Unknown, failure: None });
        }
        Event::OrderPlaced { at, account, url, request } => {
            facts.order = Some(OpenOrder { at, account, url, placed: now, request, answers: Vec::new() });
        }
        Event::Answering { answers } => {
            if let Some(order) = &mut facts.order {
                // Those of an earlier run may still be visible, also for names that are proven by now.
                order.answers.retain(|old| !answers.contains(old));
                order.answers.extend(answers);
            }
        }
        Event::Finalizing => {
            // Charged before the act: a crash between here and the certificate errs on the safe side.
            let full = now.after(ISSUANCES.emission * ISSUANCES.burst);
            facts.issuances = Some(ISSUANCES.spend(facts.issuances, now).unwrap_or(full));
        }
        Event::Installed { installed } => {
            facts.installed = Some(installed);
            facts.order = None;
            facts.needed_since = None;
            end(&mut facts, Ended::Issued, None, now);
        }
        Event::OrderClosed => {
            facts.order = None;
            // An attempt that only found the order to be of no use was none.
            facts.attempts.pop_if(|a| a.finished.is_none() && a.result == Ended::Unknown && a.started >= now.before(ONE_RUN));
        }
        Event::Failed { failure } => {
            facts.needed_since.get_or_insert(now);
            end(&mut facts, Ended::Failed, Some(failure), now);
        }
        Event::Suspended { failure } => end(&mut facts, Ended::Pending, Some(failure), now),
        Event::Deployed { target, generation, fingerprint } => {
            let row = Deployment { target, generation, fingerprint, done: Some(now), failures: 0, tried: Some(now), detail: None };
            replace(&mut facts, row);
        }
        Event::Deploying { target, generation, fingerprint } => {
            let before = facts.deployment(&target).filter(|d| d.fingerprint == fingerprint && d.generation == generation);
            // A failure until it is told otherwise.
            let failures = before.map_or(0, |d| d.failures).saturating_add(1);
            let detail = before.and_then(|d| d.detail.clone()).or_else(|| Some("it was begun and did not end".to_owned()));
            replace(&mut facts, Deployment { target, generation, fingerprint, done: None, failures, tried: Some(now), detail });
        }
        Event::DeployStopped { target } => facts.deployments.retain(|d| d.target != target),
        Event::DeployFailed { target, generation, fingerprint, failure } => {
            let before = facts.deployment(&target).filter(|d| d.fingerprint == fingerprint && d.done.is_none());
            let failures = before.map_or(1, |d| d.failures.max(1));
            let detail = Some(failure.cut().to_string());
            replace(&mut facts, Deployment { target, generation, fingerprint, done: None, failures, tried: Some(now), detail });
        }
    }
    let surplus = facts.attempts.len().saturating_sub(Facts::MAX_ATTEMPTS);
    facts.attempts.drain(..surplus);
    facts
}

/// Ends the attempt that runs, else remembers one that ended before it could begin.
fn end(facts: &mut Facts, result: Ended, failure: Option<Failure>, now: Time) {
    let failure = failure.map(Failure::cut);
    match facts.attempts.last_mut().filter(|a| a.finished.is_none() && a.result == Ended::Unknown) {
        Some(open) => {
            open.finished = Some(now);
            open.result = result;
            open.failure = failure;
        }
        None => facts.attempts.push(Attempt { started: now, finished: Some(now), at: None, result, failure }),
    }
}

/// An attempt that is open for longer is a killed run's, and stays on record.
const ONE_RUN: std::time::Duration = std::time::Duration::from_secs(3600);

fn replace(facts: &mut Facts, row: Deployment) {
    facts.deployments.retain(|d| d.target != row.target);
    facts.deployments.push(row);
    facts.deployments.sort_by(|a, b| a.target.cmp(&b.target));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::problem::Class;

    fn at(seconds: i64) -> Time {
        Time::from_unix(seconds)
    }

    fn directory() -> Directory {
        Directory::parse("https://ca.example/dir").expect("valid")
    }

    fn failed() -> Event {
        Event::Failed { failure: Failure::new(Class::Host, "dns", "no such name") }
    }

    #[test]
    fn a_killed_attempt_stays_on_record() {
        let facts = record(Facts::default(), Event::Intent { at: directory(), resumes: false }, at(1));
        let facts = record(facts, Event::Intent { at: directory(), resumes: false }, at(5));
        let facts = record(facts, failed(), at(6));
        assert_eq!(facts.attempts.len(), 2);
        assert_eq!(facts.attempts[0].result, Ended::Unknown);
        assert_eq!((facts.attempts[1].result, facts.attempts[1].finished), (Ended::Failed, Some(at(6))));
        assert_eq!(facts.needed_since, Some(at(1)));
    }

    #[test]
    fn attempts_are_bounded_and_texts_are_cut() {
        let mut facts = Facts::default();
        for second in 0..50 {
            let failure = Failure::new(Class::Ca, "x", "y").with_detail("é".repeat(100_000));
            facts = record(facts, Event::Failed { failure }, at(second));
        }
        assert_eq!(facts.attempts.len(), Facts::MAX_ATTEMPTS);
        assert_eq!(facts.attempts[0].started, at(30));
        assert!(render(&facts).len() < 200_000);
    }

    #[test]
    fn success_clears_the_need_and_the_order() {
        let mut facts = record(Facts::default(), Event::Intent { at: directory(), resumes: false }, at(1));
        let request = Request { identifiers: ["a.example".parse().expect("valid")].into(), key_type: Default::default(), profile: None };
        facts = record(facts, Event::OrderPlaced { at: directory(), account: "a".into(), url: "o".into(), request }, at(2));
        assert!(facts.order.is_some());
        facts = record(facts, Event::Finalizing, at(3));
        let installed =
            Installed { generation: Generation(1), not_before: at(0), not_after: at(9), issuer: "x".into(), fingerprint: "f".into() };
        facts = record(facts, Event::Installed { installed }, at(4));
        assert_eq!((facts.order, facts.needed_since), (None, None));
        assert_eq!(facts.attempts[0].result, Ended::Issued);
        assert_eq!(facts.issuances, Some(at(3).after(ISSUANCES.emission)));
    }

    #[test]
    fn deployments_count_failures_per_fingerprint() {
        let fail = |fingerprint: &str| Event::DeployFailed {
            target: TargetId("deploy".into()),
            generation: Generation(1),
            fingerprint: fingerprint.into(),
            failure: Failure::local("hook", "exit status 1"),
        };
        let begin = |fingerprint: &str| Event::Deploying {
            target: TargetId("deploy".into()),
            generation: Generation(1),
            fingerprint: fingerprint.into(),
        };
        let mut facts = Facts::default();
        for (fingerprint, count) in [("a", 1), ("a", 2), ("b", 1)] {
            facts = record(facts, begin(fingerprint), at(1));
            assert_eq!(facts.deployments[0].failures, count, "killed by its own command, a run has counted it");
            facts = record(facts, fail(fingerprint), at(1));
            assert_eq!(facts.deployments[0].failures, count);
        }
        assert_eq!(facts.deployments.len(), 1);
    }

    use crate::state::render;
}
