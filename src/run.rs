//! The order of a run and nothing else: survey, drive, report.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Duration;

use crate::config::Certificate;
use crate::domain::inventory::Holding;
use crate::domain::name::Name;
use crate::domain::outcome::{Exit, Outcome};
use crate::domain::problem::{Class, Failure};
use crate::domain::step::{Decision, Kind, Reason, Step};
use crate::domain::time::Time;
use crate::execute::{Job, execute};
use crate::plan::{self, SoFar, audit, due};
use crate::ports::Ports;
use crate::state::Ended;
use crate::survey;

/// What a run is asked to do.
#[derive(Clone, Debug)]
pub struct Orders {
    /// When the run began.
    pub started: Time,
    /// When it must have ended.
    pub deadline: Time,
    /// The longest that one certificate may take of it: one that hangs must not starve the others.
    pub share: Duration,
    /// Certificates that are due whatever their dates say.
    pub forced: BTreeSet<Name>,
    /// Certificates that a person named.
    pub asked: BTreeSet<Name>,
    /// How many certificates are worked on at a time.
    pub parallel: usize,
}

/// What came of one certificate.
#[derive(Clone, Debug)]
#[must_use = "an unread row is a certificate that nobody hears of"]
pub struct Row {
    /// Which.
    pub name: Name,
    /// What the vault holds now.
    pub holding: Holding,
    /// The last decision: why nothing more was done.
    pub decision: Decision,
    /// Whether a new certificate was installed.
    pub issued: bool,
    /// What failed or was left over, in this run.
    pub failure: Option<Failure>,
    /// What this certificate makes of the run's exit code.
    pub exit: Exit,
    /// Whether that lasts: not what merely failed in this run.
    pub lasting: Exit,
    /// When that turns by itself.
    pub turns: Option<Time>,
}

/// What would be done first about each certificate, without the lock and without doing it.
///
/// Many certificates are read side by side.
pub fn plan(certificates: &[&Certificate], orders: &Orders, ports: &Ports<'_>) -> Vec<Row> {
    let each = |certificate: &&Certificate| {
        let now = ports.clock.now();
        let holding = survey::holding(ports.vault, certificate);
        let decision = plan::next(now, certificate, &holding, &ports.journal.facts(&certificate.name), &begin(certificate, orders, now));
        row(certificate, holding, decision, now, ports, None, false)
    };
    let each =
        |certificate: &&Certificate| catch_unwind(AssertUnwindSafe(|| each(certificate))).unwrap_or_else(|_| panicked(certificate, ports));
    let size = certificates.len().div_ceil(orders.parallel).max(64);
    if certificates.len() <= size {
        return certificates.iter().map(each).collect();
    }
    std::thread::scope(|scope| {
        let parts: Vec<_> = certificates.chunks(size).map(|part| scope.spawn(move || part.iter().map(each).collect::<Vec<_>>())).collect();
        // What one certificate's files can make panic is caught above.
        parts.into_iter().flat_map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// Whether a row still has something to be done now.
#[must_use]
pub fn is_due(row: &Row) -> bool {
    !matches!(row.decision.step.kind(), Kind::Wait | Kind::Nothing)
}

/// Carries every certificate as far as this run can: least time to its danger point first, several at a time.
///
/// A panic in one is a failure of that one.
pub fn drive_all(due: &[(&Certificate, &Row)], orders: &Orders, ports: &Ports<'_>) -> Vec<Row> {
    let queue = Mutex::new(queue(due, ports));
    let next = || queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
    let done = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..orders.parallel.clamp(1, due.len().max(1)) {
            scope.spawn(|| {
                // Certificates for the same names one after another: a CA may give both the same order.
                for certificate in std::iter::from_fn(next).flatten() {
                    let row = catch_unwind(AssertUnwindSafe(|| drive(certificate, orders, ports)))
                        .unwrap_or_else(|_| panicked(certificate, ports));
                    done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(certificate.name.clone(), row);
                }
            });
        }
    });
    done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).into_values().collect()
}

/// Carries one certificate as far as this run can: decides and acts until there is nothing to do or something to wait for.
pub fn drive(certificate: &Certificate, orders: &Orders, ports: &Ports<'_>) -> Row {
    let name = &certificate.name;
    let mut run = begin(certificate, orders, ports.clock.now());
    let mut issued = false;
    let mut deployment = None;
    loop {
        let now = ports.clock.now();
        let holding = survey::holding(ports.vault, certificate);
        let facts = ports.journal.facts(name);
        let mut decision = plan::next(now, certificate, &holding, &facts, &run);
        if let Err(why) = audit::check(&decision, &run) {
            let failure = Failure::local("internal", format!("a decision breaks its own rules: {why}"))
                .with_hint("this is a bug in certctl: please report it");
            ports.progress.failed(name, &failure, false);
            decision = Decision { step: Step::Wait { until: now }, reason: Reason::FailedNow(Box::new(failure.clone())) };
            run.failed = Some(failure);
        }
        if ports.clock.stopped() && decision.step.until().is_none() {
            decision = Decision { step: Step::Wait { until: now }, reason: Reason::DeadlinePassed };
        }
        let kind = decision.step.kind();
        if decision.step.until().is_some() {
            let row = row(certificate, holding, decision, now, ports, run.failed, issued);
            // It shows in the report; the exit code for it is the pending deployment's own.
            return Row { failure: row.failure.or(deployment), ..row };
        }
        ports.progress.detail(name, &format!("{kind}: {}", decision.reason));
        run.taken.insert(kind);
        // Of the last attempt that ended: after a success the same trouble is news again.
        let told = facts.attempts.iter().rev().find(|a| a.result != Ended::Unknown).and_then(|a| a.failure.clone());
        match execute(
            &Job {
                certificate,
                holding: &holding,
                ports: *ports,
                deadline: if kind == Kind::Deploy { run.ends } else { run.deadline },
                asked: run.asked,
            },
            &decision.step,
        ) {
            Outcome::Done => issued |= matches!(kind, Kind::Order | Kind::Resume) && changed(certificate, &holding, ports),
            // A deployment that failed says so itself, and keeps nothing else from being done.
            Outcome::Failed(failure) if kind == Kind::Deploy => deployment = Some(failure),
            Outcome::Failed(failure) | Outcome::Pending(failure) => {
                let repeated = told.is_some_and(|t| t.same_reason(&failure)) && !run.asked;
                ports.progress.failed(name, &failure, repeated);
                run.failed = Some(failure);
            }
        }
    }
}

fn begin(certificate: &Certificate, orders: &Orders, now: Time) -> SoFar {
    SoFar {
        forced: orders.forced.contains(&certificate.name),
        asked: orders.asked.contains(&certificate.name),
        ends: orders.deadline,
        ..SoFar::new(orders.started, orders.deadline.min(now.after(orders.share)))
    }
}

fn changed(certificate: &Certificate, before: &Holding, ports: &Ports<'_>) -> bool {
    let after = survey::holding(ports.vault, certificate);
    after.held().map(|h| &h.leaf.fingerprint) != before.held().map(|h| &h.leaf.fingerprint)
}

fn row(
    certificate: &Certificate,
    holding: Holding,
    decision: Decision,
    now: Time,
    ports: &Ports<'_>,
    failed: Option<Failure>,
    issued: bool,
) -> Row {
    let facts = ports.journal.facts(&certificate.name);
    let waits = matches!(decision.step, Step::Wait { .. });
    let lasting = match &decision.reason {
        Reason::DeployFailed { .. } | Reason::NotDeployed if waits => Exit::DeployPending,
        // What is there cannot serve, and nothing will be done about it for a while.
        Reason::TooOften { .. } if holding.held().is_none_or(|held| held.leaf.not_after <= now) => Exit::Failed,
        _ if waits && due::in_danger(now, &holding, &facts) => Exit::Failed,
        _ => Exit::Ok,
    };
    let failure = match (failed, &decision.reason) {
        (Some(failure), _) => Some(failure),
        (None, Reason::Unreadable(why)) => Some(
            Failure::local("unreadable", format!("the certificate on disk cannot be read: {why}"))
                .with_hint("mount the disk, give certctl access, or remove what stands in its place; nothing is ordered for this"),
        ),
        (None, Reason::Adopted(Some(failure))) => Some((**failure).clone()),
        // With something usable a limit of ours is kept as planned; with nothing it leaves a certificate missing.
        (None, Reason::TooOften { .. }) if lasting == Exit::Failed => {
            Some(Failure::local("too-often", format!("no new certificate for now: {}", decision.reason)).with_hint(
                "find out what makes it due again and again, or what damages it; `certctl plan` says when the next one may come",
            ))
        }
        (None, _) => None,
    };
    let exit = match &failure {
        Some(failure) if failure.class == Class::Operator => Exit::PersonNeeded,
        Some(_) => Exit::Failed,
        None => Exit::Ok,
    };
    let turns = due::turns(now, &holding, &facts);
    Row { name: certificate.name.clone(), holding, decision, issued, failure, exit: exit.max(lasting), lasting, turns }
}

fn panicked(certificate: &Certificate, ports: &Ports<'_>) -> Row {
    let failure =
        Failure::local("internal", "certctl failed in a way that it should not").with_hint("this is a bug in certctl: please report it");
    ports.progress.failed(&certificate.name, &failure, false);
    let now = ports.clock.now();
    let decision = Decision { step: Step::Wait { until: now }, reason: Reason::FailedNow(Box::new(failure.clone())) };
    Row {
        name: certificate.name.clone(),
        holding: Holding::Missing,
        decision,
        issued: false,
        failure: Some(failure),
        exit: Exit::Failed,
        lasting: Exit::Failed,
        turns: None,
    }
}

/// The certificates in the reverse of the order in which they are worked on, so that `pop` yields the next.
///
/// What ran out of time last goes behind the others: one that hangs must not starve them.
fn queue<'a>(due: &[(&'a Certificate, &Row)], ports: &Ports<'_>) -> Vec<Vec<&'a Certificate>> {
    let urgency = |certificate: &Certificate, row: &Row| {
        let danger = row.holding.held().map(|held| due::danger_point(&held.leaf));
        let last = ports.journal.facts(&certificate.name).last_attempt().and_then(|a| a.failure.clone());
        let slow = last.is_some_and(|f| matches!(f.code.as_str(), "processing" | "timeout"));
        (slow, danger)
    };
    let mut keyed: Vec<_> = due.iter().map(|(certificate, row)| (urgency(certificate, row), *certificate)).collect();
    keyed.sort_by_key(|(urgency, _)| *urgency);
    let mut groups: Vec<Vec<&Certificate>> = Vec::new();
    let mut places = BTreeMap::new();
    for (_, certificate) in keyed {
        let place = *places.entry(&certificate.request.identifiers).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(certificate),
            None => groups.push(vec![certificate]),
        }
    }
    groups.reverse();
    groups
}
