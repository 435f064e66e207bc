//! Every decision, pure: no clock, disk, network, randomness or log.

pub mod audit;
pub mod due;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::Certificate;
use crate::domain::bucket::ISSUANCES;
use crate::domain::inventory::{Held, Holding};
use crate::domain::problem::Failure;
use crate::domain::step::{Decision, Kind, Reason, Step, TargetId};
use crate::domain::time::Time;
use crate::state::{Deployment, Facts};

/// What has happened to one certificate in this run, and what was asked for.
#[derive(Clone, Debug)]
pub struct SoFar {
    /// When the run began.
    pub started: Time,
    /// When this certificate must be left to the next run.
    pub deadline: Time,
    /// When the run ends: a deployment may use what is left of it.
    pub ends: Time,
    /// `--force`: it is due whatever its dates say.
    pub forced: bool,
    /// A person named it: what waits only to be gentle does not wait.
    pub asked: bool,
    /// The kinds of step that were taken.
    pub taken: BTreeSet<Kind>,
    /// What failed, or was left to a later run.
    pub failed: Option<Failure>,
}

impl SoFar {
    /// A run that has done nothing yet.
    #[must_use]
    pub const fn new(started: Time, deadline: Time) -> Self {
        Self { started, deadline, ends: deadline, forced: false, asked: false, taken: BTreeSet::new(), failed: None }
    }

    fn took(&self, kind: Kind) -> bool {
        self.taken.contains(&kind)
    }
}

/// What to do next about one certificate.
///
/// Asked again after every outcome, so it sees what the last step has taught. Bounded: each kind of
/// step comes at most once per certificate and run.
pub fn next(now: Time, certificate: &Certificate, holding: &Holding, facts: &Facts, run: &SoFar) -> Decision {
    if let Holding::Unreadable(why) = holding {
        return Decision { step: Step::Wait { until: now }, reason: Reason::Unreadable(why.clone()) };
    }
    if let Some(decision) = issue(now, certificate, holding, facts, run) {
        // A failed order does not keep the certificate that is there from being deployed.
        let deployment = holding.held().and_then(|held| deploy(now, certificate, held, facts, run));
        return match (&decision.step, deployment) {
            (Step::Wait { .. }, Some(deployment)) if deployment.step.kind() == Kind::Deploy => deployment,
            _ => decision,
        };
    }
    match holding {
        Holding::Held(held) => deploy(now, certificate, held, facts, run).unwrap_or_else(|| Decision {
            step: Step::Nothing { until: due::renewal_instant(&certificate.name, &held.leaf) },
            reason: Reason::NotDue { expires: held.leaf.not_after },
        }),
        // Nothing is held and no order may be placed: `issue` has said why.
        Holding::Missing | Holding::Damaged(_) | Holding::Unlinked(_) | Holding::Unreadable(_) => {
            Decision { step: Step::Wait { until: now }, reason: Reason::Missing }
        }
    }
}

/// The steps that lead to a new certificate; `None` where none is wanted.
fn issue(now: Time, certificate: &Certificate, holding: &Holding, facts: &Facts, run: &SoFar) -> Option<Decision> {
    let wait = |until, reason| Some(Decision { step: Step::Wait { until }, reason });
    let worked = run.took(Kind::Order) || run.took(Kind::Resume);
    if let Some(failure) = &run.failed {
        return wait(now, Reason::FailedNow(Box::new(failure.clone())));
    }
    // What another run tried while this one waited for it is not tried again. One that ended in the
    // future ended before the clock went back: adopting it would stop all work until then.
    let last = facts.last_attempt().filter(|a| !worked && a.finished.is_some_and(|f| f > run.started && f <= now));
    if let Some(last) = last
        && (last.failure.is_some() || run.forced)
    {
        return wait(now, Reason::Adopted(last.failure.clone().map(Box::new)));
    }
    let open = facts.order.as_ref().filter(|o| certificate.cas.contains(&o.at) && !run.took(Kind::Resume) && !run.took(Kind::Order));
    if let Some(open) = open {
        if now >= run.deadline {
            return wait(now, Reason::DeadlinePassed);
        }
        let step = Step::Resume { order: open.url.clone(), at: open.at.clone() };
        return Some(Decision { step, reason: Reason::OrderOpen { placed: open.placed } });
    }
    if let Holding::Unlinked(held) = holding
        && due::need(now, certificate, &Holding::Held(held.clone()), false).is_none()
        && !run.took(Kind::Restore)
    {
        return Some(Decision { step: Step::Restore { generation: held.generation }, reason: Reason::LinkMissing });
    }
    let reason = due::need(now, certificate, holding, run.forced && !worked)?;
    if now >= run.deadline {
        return wait(now, Reason::DeadlinePassed);
    }
    if run.took(Kind::Order) {
        return wait(now, reason);
    }
    if let Err(until) = ISSUANCES.spend(facts.issuances, now) {
        return wait(until, Reason::TooOften { wanted: Box::new(reason) });
    }
    // A certificate has at least one CA by construction.
    let at = certificate.cas.first()?.clone();
    Some(Decision { step: Step::Order { at }, reason })
}

/// The step that brings what is live to the targets that lack it; `None` where all have it.
fn deploy(now: Time, certificate: &Certificate, held: &Held, facts: &Facts, run: &SoFar) -> Option<Decision> {
    let lacking: Vec<(TargetId, Option<&Deployment>)> = certificate
        .targets()
        .into_iter()
        .filter_map(|(target, fingerprint)| {
            if target.0 == TargetId::FILES {
                return (!held.access_fits).then_some((target, None));
            }
            let row = facts.deployment(&target).filter(|d| d.generation == held.generation && d.fingerprint == fingerprint);
            row.is_none_or(|d| d.done.is_none()).then_some((target, row))
        })
        .collect();
    let ready: Vec<TargetId> = lacking.iter().filter(|(_, row)| run.asked || again(now, *row) <= now).map(|(t, _)| t.clone()).collect();
    // A command that would be killed at once is left to the next run.
    if !ready.is_empty() && !run.took(Kind::Deploy) && now < run.ends {
        let step = Step::Deploy { generation: held.generation, targets: ready };
        return Some(Decision { step, reason: Reason::NotDeployed });
    }
    let (until, row) = lacking.iter().map(|(_, row)| (again(now, *row), *row)).min_by_key(|(until, _)| *until)?;
    let reason = row
        .map_or(Reason::NotDeployed, |row| Reason::DeployFailed { failures: row.failures, detail: row.detail.clone().unwrap_or_default() });
    Some(Decision { step: Step::Wait { until }, reason })
}

/// When a deployment that failed is tried again: 1 min, doubling to 1 h.
fn again(now: Time, row: Option<&Deployment>) -> Time {
    let Some((row, tried)) = row.and_then(|row| row.tried.map(|tried| (row, tried))) else { return now };
    let doublings = row.failures.saturating_sub(1).min(6);
    if tried > now {
        // A clock that went back: nothing is known of the wait, and the next try writes its own instant.
        return now;
    }
    tried.after((FIRST_RETRY * 2u32.pow(doublings)).min(LAST_RETRY))
}

const FIRST_RETRY: Duration = Duration::from_secs(60);
const LAST_RETRY: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::inventory::Generation;
    use crate::domain::name::Directory;
    use crate::plan::due::tests::{certificate, held};
    use crate::state::{Event, record};

    const DAY: Duration = Duration::from_secs(86_400);

    fn start() -> Time {
        Time::parse("2026-03-01T00:00:00Z").expect("valid")
    }

    fn so_far() -> SoFar {
        SoFar::new(start(), start().after(DAY * 1000))
    }

    fn directory() -> Directory {
        Directory::parse("https://ca.example/dir").expect("valid")
    }

    fn placed() -> Event {
        let certificate = certificate(&["a.example"]);
        Event::OrderPlaced { at: directory(), account: "acct".into(), url: "https://ca.example/o/1".into(), request: certificate.request }
    }

    #[test]
    fn a_missing_certificate_is_ordered_once_a_run() {
        let (certificate, mut run) = (certificate(&["a.example"]), so_far());
        let decision = next(start(), &certificate, &Holding::Missing, &Facts::default(), &run);
        assert_eq!(decision, Decision { step: Step::Order { at: directory() }, reason: Reason::Missing });
        run.taken.insert(Kind::Order);
        run.failed = Some(Failure::local("x", "y"));
        let decision = next(start(), &certificate, &Holding::Missing, &Facts::default(), &run);
        assert_eq!(decision.step.kind(), Kind::Wait);
    }

    #[test]
    fn an_open_order_comes_before_a_new_one_also_when_nothing_is_due() {
        let certificate = certificate(&["a.example"]);
        let facts = record(Facts::default(), placed(), start());
        for holding in [Holding::Missing, Holding::Held(Box::new(held(&certificate, start(), 90)))] {
            let mut run = so_far();
            let decision = next(start(), &certificate, &holding, &facts, &run);
            assert_eq!(decision.step.kind(), Kind::Resume);
            run.taken.insert(Kind::Resume);
            run.failed = Some(Failure::local("x", "y"));
            assert_eq!(next(start(), &certificate, &holding, &facts, &run).step.kind(), Kind::Wait);
        }
    }

    #[test]
    fn what_cannot_be_read_is_never_ordered_again() {
        let certificate = certificate(&["a.example"]);
        let decision = next(start(), &certificate, &Holding::Unreadable("EACCES".into()), &Facts::default(), &so_far());
        assert_eq!(decision.step.kind(), Kind::Wait);
    }

    #[test]
    fn a_waiter_adopts_what_the_first_run_did() {
        let certificate = certificate(&["a.example"]);
        let facts = record(Facts::default(), Event::Intent { at: directory(), resumes: false }, start());
        let failed = Event::Failed { failure: Failure::local("x", "y") };
        let facts = record(facts, failed, start().after(Duration::from_millis(5)));
        let waited = next(start().after(DAY), &certificate, &Holding::Missing, &facts, &so_far());
        assert!(matches!(waited.reason, Reason::Adopted(Some(_))), "{waited:?}");
        let fresh = SoFar::new(start().after(Duration::from_millis(6)), start().after(DAY));
        assert_eq!(next(start().after(Duration::from_millis(7)), &certificate, &Holding::Missing, &facts, &fresh).step.kind(), Kind::Order);
    }

    #[test]
    fn a_clock_that_went_back_makes_no_run_adopt_its_future() {
        let certificate = certificate(&["a.example"]);
        let facts = record(Facts::default(), Event::Failed { failure: Failure::local("x", "y") }, start().after(DAY));
        assert_eq!(next(start(), &certificate, &Holding::Missing, &facts, &so_far()).step.kind(), Kind::Order);
    }

    #[test]
    fn a_lineage_is_issued_five_times_then_once_a_day() {
        let certificate = certificate(&["a.example"]);
        let mut facts = Facts::default();
        for _ in 0..5 {
            assert_eq!(next(start(), &certificate, &Holding::Missing, &facts, &so_far()).step.kind(), Kind::Order);
            facts = record(facts, Event::Finalizing, start());
        }
        let mut run = so_far();
        run.forced = true;
        let decision = next(start(), &certificate, &Holding::Missing, &facts, &run);
        assert_eq!(decision.step, Step::Wait { until: start().after(DAY) });
        assert_eq!(next(start().after(DAY), &certificate, &Holding::Missing, &facts, &run).step.kind(), Kind::Order);
    }

    #[test]
    fn a_lost_link_is_restored_without_the_ca() {
        let certificate = certificate(&["a.example"]);
        let lost = held(&certificate, start(), 90);
        let decision = next(start(), &certificate, &Holding::Unlinked(Box::new(lost.clone())), &Facts::default(), &so_far());
        assert_eq!(decision.step, Step::Restore { generation: lost.generation });
        let later = start().after(DAY * 80);
        let decision = next(later, &certificate, &Holding::Unlinked(Box::new(lost)), &Facts::default(), &so_far());
        assert_eq!(decision.step.kind(), Kind::Order, "an old one is replaced, not restored");
    }

    #[test]
    fn a_failed_deployment_is_repeated_with_growing_waits_and_never_ordered() {
        let mut certificate = certificate(&["a.example"]);
        certificate.deploy = Some(vec!["true".into()]);
        let held = Holding::Held(Box::new(held(&certificate, start(), 90)));
        let (target, fingerprint) = certificate.targets()[1].clone();
        let (mut facts, mut now, mut waits) = (Facts::default(), start(), Vec::new());
        for _ in 0..9 {
            let decision = next(now, &certificate, &held, &facts, &so_far());
            assert_eq!(decision.step, Step::Deploy { generation: Generation(1), targets: vec![target.clone()] });
            let begun = Event::Deploying { target: target.clone(), generation: Generation(1), fingerprint: fingerprint.clone() };
            facts = record(facts, begun, now);
            let failure = Failure::local("hook", "exit status 1");
            let event =
                Event::DeployFailed { target: target.clone(), generation: Generation(1), fingerprint: fingerprint.clone(), failure };
            facts = record(facts, event, now);
            let Step::Wait { until } = next(now, &certificate, &held, &facts, &so_far()).step else { panic!("waits") };
            waits.push(until.since(now).as_secs());
            now = until;
        }
        assert_eq!(waits, [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]);
        let back = start().before(DAY);
        assert_eq!(next(back, &certificate, &held, &facts, &so_far()).step.kind(), Kind::Deploy, "a clock that went back stops nothing");
        facts = record(facts, Event::Deployed { target, generation: Generation(1), fingerprint }, now);
        assert_eq!(next(now, &certificate, &held, &facts, &so_far()).step.kind(), Kind::Nothing);
    }

    #[test]
    fn time_that_is_up_leaves_the_rest_to_the_next_run() {
        let run = SoFar::new(start(), start());
        let decision = next(start(), &certificate(&["a.example"]), &Holding::Missing, &Facts::default(), &run);
        assert_eq!(decision.reason, Reason::DeadlinePassed);
    }
}
