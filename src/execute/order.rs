//! An order from its intent to an installed certificate, and from wherever an earlier run left it.
//!
//! Key, intent and order URL are durable before the first challenge is answered, so no crash loses
//! an issued certificate. The CA's status decides what is next (RFC 8555 §7.1.6); every loop ends at
//! the job's deadline.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::{Challenge, KeyPolicy};
use crate::domain::cert::{self, Chain, Links, Unfit};
use crate::domain::inventory::{Bundle, Holding, Meta};
use crate::domain::name::{Directory, Identifier};
use crate::domain::outcome::Outcome;
use crate::domain::problem::{Class, Failure};
use crate::domain::request::Request;
use crate::domain::step::TargetId;
use crate::domain::text::is_token;
use crate::domain::time::Time;
use crate::ports::{Authority, AuthorizationStatus, Order, OrderStatus, Presented};
use crate::state::{Answer, Event, Installed, OpenOrder};

use super::Job;

/// Places an order and follows it to its end.
pub(super) fn place(job: &Job<'_>, at: &Directory) -> Outcome {
    let placed = || -> Result<(), Stop> {
        // What this machine lacks is found before a CA is asked for anything.
        for challenge in job.certificate.challenges.values().collect::<BTreeSet<_>>() {
            job.ports.solver.ready(challenge)?;
        }
        job.ports.vault.room()?;
        note(job, Event::Intent { at: at.clone(), resumes: false })?;
        stage_key(job)?;
        let authority = job.ports.authorities.at(at)?;
        job.ports.progress.detail(&job.certificate.name, &format!("placing an order at {}", at.host()));
        let request = &job.certificate.request;
        let order = authority.new_order(request)?;
        note(job, Event::OrderPlaced { at: at.clone(), account: authority.account(), url: order.url.clone(), request: request.clone() })?;
        follow(job, authority, order, request)
    };
    end(job, placed())
}

/// Goes on with a stored order.
pub(super) fn resume(job: &Job<'_>, url: &str, at: &Directory) -> Outcome {
    let Some(open) = job.ports.journal.facts(&job.certificate.name).order.filter(|o| o.url == url) else {
        return Outcome::Done;
    };
    let resumed = || -> Result<(), Stop> {
        let wanted = open.request == job.certificate.request;
        if wanted {
            for challenge in job.certificate.challenges.values().collect::<BTreeSet<_>>() {
                job.ports.solver.ready(challenge)?;
            }
        }
        job.ports.vault.room()?;
        note(job, Event::Intent { at: at.clone(), resumes: true })?;
        let authority = job.ports.authorities.at(at)?;
        job.ports.progress.detail(&job.certificate.name, &format!("going on with the order of {}", open.placed));
        let Some(order) = authority.order(url)? else { return Err(Stop::Gone("the CA no longer knows it")) };
        let now = job.ports.clock.now();
        match order.status {
            // The CA has issued, or is about to: that is fetched whatever has changed since.
            OrderStatus::Processing | OrderStatus::Valid => {}
            OrderStatus::Invalid(_) => return Err(Stop::Gone("it failed")),
            _ if !wanted => return Err(Stop::Gone("the config has changed since")),
            _ if now.since(open.placed) > GIVE_UP || order.expires.is_some_and(|e| e <= now) => return Err(Stop::Gone("it is too old")),
            OrderStatus::Pending | OrderStatus::Ready => {}
        }
        if job.ports.vault.pending_key(&job.certificate.name)?.is_none() {
            if matches!(order.status, OrderStatus::Processing | OrderStatus::Valid) {
                return Err(Stop::Gone("its key is lost"));
            }
            // Until it is finalized an order is bound to no key.
            stage_key(job)?;
        }
        follow(job, authority, order, &open.request)
    };
    let result = resumed();
    // Only now: while the order lives the CA may be looking for what a killed run left visible.
    if matches!(result, Ok(()) | Err(Stop::Gone(_) | Stop::Dead(_))) {
        sweep(job, &open);
    }
    end(job, result)
}

/// Why an order was not followed to its end.
enum Stop {
    /// The step failed; the order, where there is one, may still be gone on with.
    Failed(Failure),
    /// The step failed, and the order with it.
    Dead(Failure),
    /// The CA is not done; a later run goes on.
    Pending(Failure),
    /// The stored order is of no use; nothing failed.
    Gone(&'static str),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<crate::ports::StoreError> for Stop {
    fn from(error: crate::ports::StoreError) -> Self {
        Self::Failed(error.into())
    }
}

fn end(job: &Job<'_>, result: Result<(), Stop>) -> Outcome {
    let (event, outcome) = match result {
        Ok(()) => return Outcome::Done,
        Err(Stop::Gone(why)) => {
            job.ports.progress.detail(&job.certificate.name, &format!("the open order is given up: {why}"));
            return match job.ports.journal.note(&job.certificate.name, Event::OrderClosed) {
                Ok(()) => Outcome::Done,
                Err(failure) => Outcome::Failed(failure),
            };
        }
        Err(Stop::Dead(failure)) => {
            // The failure first: closing the order is for the next run, which would find it dead again.
            let _ = job.ports.journal.note(&job.certificate.name, Event::Failed { failure: failure.clone() });
            (Event::OrderClosed, Outcome::Failed(failure))
        }
        Err(Stop::Failed(failure)) => (Event::Failed { failure: failure.clone() }, Outcome::Failed(failure)),
        Err(Stop::Pending(failure)) => (Event::Suspended { failure: failure.clone() }, Outcome::Pending(failure)),
    };
    // A state that cannot be written is what failed above, or will be told by the next step.
    let _ = job.ports.journal.note(&job.certificate.name, event);
    outcome
}

/// Does what the order's status asks for, until it is valid and installed.
fn follow(job: &Job<'_>, authority: &dyn Authority, mut order: Order, request: &Request) -> Result<(), Stop> {
    let mut answers: Vec<Box<dyn Presented>> = Vec::new();
    let mut validating = None;
    let mut finalized = false;
    let mut wait = Backoff::default();
    loop {
        order = match order.status {
            OrderStatus::Pending => {
                let until = match validating {
                    Some(until) => until,
                    None => {
                        answers = answer(job, authority, &order)?;
                        wait = Backoff::default();
                        *validating.insert(job.deadline.min(job.ports.clock.now().after(VALIDATION)))
                    }
                };
                match poll(job, authority, &order, until, &mut wait, "validated the names") {
                    Err(pending @ Stop::Pending(_)) => {
                        // The order is kept, and the CA may look for its answers before the next run comes.
                        answers.into_iter().for_each(Presented::leave);
                        return Err(pending);
                    }
                    other => other?,
                }
            }
            OrderStatus::Ready => {
                answers.clear();
                if finalized {
                    return Err(Stop::Failed(odd(&order, "the CA takes the order back to `ready` after it was finalized")));
                }
                finalized = true;
                wait = Backoff::default();
                finalize(job, authority, &order, request)?
            }
            OrderStatus::Processing => {
                answers.clear();
                poll(job, authority, &order, job.deadline, &mut wait, "issued the certificate")?
            }
            OrderStatus::Valid => return install(job, authority, &order, request),
            OrderStatus::Invalid(why) => {
                drop(answers);
                return Err(Stop::Dead(explain(authority, &order.url, &order.authorizations, why)));
            }
        };
    }
}

/// Presents and answers what is still to be proven.
fn answer(job: &Job<'_>, authority: &dyn Authority, order: &Order) -> Result<Vec<Box<dyn Presented>>, Stop> {
    if order.authorizations.len() > job.certificate.challenges.len() {
        let message = format!("the CA wants {} proofs for {} names", order.authorizations.len(), job.certificate.challenges.len());
        return Err(Stop::Dead(odd(order, &message)));
    }
    let mut todo = Vec::new();
    for url in &order.authorizations {
        let authorization = authority.authorization(&order.url, url)?;
        let name = &authorization.identifier;
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Invalid(why) => {
                return Err(Stop::Dead(why.unwrap_or_else(|| {
                    Failure::new(Class::Host, "invalid", format!("proving {name}: the CA gave the authorization up"))
                        .with_identifier(name.clone())
                })));
            }
            AuthorizationStatus::Pending => {}
        }
        let Some(challenge) = job.certificate.challenges.get(name) else {
            return Err(Stop::Dead(odd(order, &format!("the CA wants proof for {name}, which was not asked for"))));
        };
        let offer = authorization.challenges.iter().find(|o| o.kind == challenge.kind());
        let Some(offer) = offer else {
            let offered: Vec<&str> = authorization.challenges.iter().map(|o| o.kind.as_str()).collect();
            let message =
                format!("proving {name}: the CA offers no {} but {}", challenge.kind(), crate::domain::text::escape(&offered.join(", ")));
            return Err(Stop::Failed(
                Failure::new(Class::Operator, "no-challenge", message)
                    .with_identifier(name.clone())
                    .with_hint("choose another challenge, or another `ca`"),
            ));
        };
        todo.push((name.clone(), challenge, url, offer.clone()));
    }
    let answers = todo.iter().map(|(name, _, _, offer)| Answer { identifier: name.clone(), token: offer.token.clone() });
    let answers: Vec<Answer> = answers.filter(|a| is_token(&a.token)).collect();
    note(job, Event::Answering { answers })?;
    let mut presented = Vec::new();
    for (name, challenge, _, offer) in &todo {
        if !is_token(&offer.token) {
            return Err(Stop::Dead(odd(order, &format!("proving {name}: the CA's token is not base64url (RFC 8555 §8.3)"))));
        }
        presented.push(job.ports.solver.present(challenge, &offer.token, &offer.key_authorization)?);
    }
    for (name, _, authorization, offer) in &todo {
        if job.ports.clock.stopped() {
            return Err(Stop::Failed(stopped()));
        }
        // One that is being validated already was answered by a run that was killed.
        if offer.pending {
            job.ports.progress.detail(&job.certificate.name, &format!("asking the CA to validate {name}"));
            authority.answer(&order.url, authorization, &offer.url)?;
        }
    }
    Ok(presented)
}

/// Waits as long as the CA asks, or a little longer each time, and looks at the order again.
fn poll(job: &Job<'_>, authority: &dyn Authority, order: &Order, until: Time, wait: &mut Backoff, what: &str) -> Result<Order, Stop> {
    let now = job.ports.clock.now();
    // A CA that names no time, zero seconds, or an instant that has passed is not asked in a loop.
    let asked = order.poll_after.filter(|wait| *wait >= Backoff::NAMED);
    let next = now.after(asked.unwrap_or_else(|| wait.next()));
    if next > until {
        let message = format!("waiting for the CA: it has not {what} yet");
        return Err(Stop::Pending(
            Failure::new(Class::Ca, "processing", message).with_hint("the order is kept; the next run goes on with it"),
        ));
    }
    job.ports.clock.sleep_until(next);
    if job.ports.clock.stopped() {
        return Err(Stop::Failed(stopped()));
    }
    authority.order(&order.url)?.ok_or_else(|| Stop::Dead(odd(order, "the CA no longer knows the order")))
}

/// Sends the CSR; what the CA makes of it is read from the order.
fn finalize(job: &Job<'_>, authority: &dyn Authority, order: &Order, request: &Request) -> Result<Order, Stop> {
    let name = &job.certificate.name;
    let key = job.ports.vault.pending_key(name)?.ok_or_else(|| Failure::local("key-lost", "the pending key is gone from the vault"))?;
    let csr = job.ports.keys.csr(&key, request)?;
    note(job, Event::Finalizing)?;
    job.ports.progress.detail(name, "all names are proven; asking for the certificate");
    match authority.finalize(&order.url, &csr) {
        Ok(order) => Ok(order),
        // RFC 8555 §7.4: fetch the order and act on its status.
        Err(failure) if failure.code == "orderNotReady" => Ok(authority.order(&order.url)?.ok_or(failure)?),
        Err(failure) => Err(Stop::Failed(failure)),
    }
}

/// Fetches, verifies and installs the certificate of a valid order.
fn install(job: &Job<'_>, authority: &dyn Authority, order: &Order, request: &Request) -> Result<(), Stop> {
    let Job { certificate, holding, ports, .. } = job;
    let name = &certificate.name;
    let pem = authority.certificate(&order.url)?;
    let key = ports.vault.pending_key(name)?.ok_or_else(|| Failure::local("key-lost", "the pending key is gone from the vault"))?;
    let now = ports.clock.now();
    let chain = Chain::parse(&pem, &key, Links::Signatures).and_then(|chain| chain.answers(request, now).map(|()| chain));
    let chain = chain.map_err(|why| {
        let failure = odd(order, &format!("the certificate that the CA sent is not used: {why}"));
        match why {
            // Issued all the same: the next run fetches it again.
            Unfit::Garbled(_) => Stop::Failed(failure),
            // Installing it would break what is served; asking again is a new order.
            Unfit::Wrong(_) => Stop::Dead(failure),
        }
    })?;
    let leaf = chain.leaf.clone();
    let held = holding.held().filter(|_| request != &certificate.request);
    if held.is_some_and(|held| held.leaf.not_after > now) {
        // An order from before a change of the config: what is held fits no worse.
        note(job, Event::OrderClosed)?;
        return Ok(());
    }
    let generation = match holding {
        // A run that was killed after the switch and before it could say so.
        Holding::Held(held) if held.leaf.fingerprint == leaf.fingerprint => held.generation,
        Holding::Held(_) | Holding::Missing | Holding::Damaged(_) | Holding::Unlinked(_) | Holding::Unreadable(_) => {
            let at = authority.directory();
            let meta = Meta {
                version: Meta::VERSION,
                issued: now,
                directory: at,
                account: authority.account(),
                order: order.url.clone(),
                ari: leaf.ari.clone(),
                request: request.clone(),
            };
            let bundle = Bundle { key, chain, meta, access: certificate.access };
            ports.vault.install(name, &bundle, certificate.keep)?
        }
    };
    let installed = Installed {
        generation,
        not_before: leaf.not_before,
        not_after: leaf.not_after,
        issuer: leaf.issuer.clone(),
        fingerprint: leaf.fingerprint,
    };
    note(job, Event::Installed { installed })?;
    let fingerprint = certificate.targets().into_iter().find(|(t, _)| t.0 == TargetId::FILES).map(|(_, f)| f);
    if let Some(fingerprint) = fingerprint {
        note(job, Event::Deployed { target: TargetId(TargetId::FILES.to_owned()), generation, fingerprint })?;
    }
    // The key is in the generation now; what cannot be cleared is overwritten by the next order.
    let _ = ports.vault.clear_pending(name);
    let issuer = crate::domain::text::escape(&leaf.issuer);
    ports.progress.changed(name, &format!("issued by {issuer}, valid until {}", leaf.not_after));
    Ok(())
}

/// Says which name failed, and in whose words.
fn explain(authority: &dyn Authority, order: &str, authorizations: &[String], why: Option<Failure>) -> Failure {
    for url in authorizations {
        let found = authority.authorization(order, url);
        if let Ok(authorization) = found
            && let AuthorizationStatus::Invalid(failure) = authorization.status
        {
            let name = authorization.identifier;
            return failure.unwrap_or_else(|| {
                Failure::new(Class::Host, "invalid", format!("proving {name}: the CA does not say why it failed"))
                    .with_identifier(name.clone())
            });
        }
    }
    why.unwrap_or_else(|| Failure::new(Class::Ca, "order-invalid", format!("the CA gave the order {order} up and does not say why")))
}

/// Makes the key durable before the CA hears of it.
fn stage_key(job: &Job<'_>) -> Result<(), Stop> {
    let Job { certificate, ports, .. } = job;
    let wanted = certificate.request.key_type;
    let reused = match certificate.key {
        KeyPolicy::Rotate => None,
        KeyPolicy::Reuse => {
            let stored = ports.vault.live(&certificate.name)?.and_then(|stored| stored.key);
            stored.and_then(|key| String::from_utf8(key).ok()).filter(|key| cert::key_type(key) == Some(wanted))
        }
    };
    let key = match reused {
        Some(key) => key,
        None => ports.keys.generate(wanted)?,
    };
    Ok(ports.vault.stage_key(&certificate.name, &key)?)
}

/// Removes what a killed run may have left visible.
fn sweep(job: &Job<'_>, open: &OpenOrder) {
    for Answer { identifier, token } in &open.answers {
        if let Some(challenge) = challenge(job, identifier)
            && is_token(token)
        {
            job.ports.solver.sweep(challenge, token);
        }
    }
}

fn challenge<'a>(job: &Job<'a>, identifier: &Identifier) -> Option<&'a Challenge> {
    job.certificate.challenges.get(identifier)
}

fn note(job: &Job<'_>, event: Event) -> Result<(), Failure> {
    job.ports.journal.note(&job.certificate.name, event)
}

/// A CA that does what the protocol does not allow.
fn odd(order: &Order, message: &str) -> Failure {
    Failure::new(Class::Ca, "protocol", format!("{message} (order {})", crate::domain::text::escape(&order.url)))
}

fn stopped() -> Failure {
    Failure::local("stopped", "the run was told to stop").with_hint("the next run goes on")
}

/// The waits between looks at an order, where the CA does not name one.
#[derive(Default)]
struct Backoff(u32);

impl Backoff {
    /// Half a second, a second, two, four, then five: a validation usually takes one to four.
    fn next(&mut self) -> Duration {
        let wait = (Duration::from_millis(500) * 2u32.pow(self.0)).min(Duration::from_secs(5));
        self.0 = (self.0 + 1).min(4);
        wait
    }

    /// From here on the CA's own word counts.
    const NAMED: Duration = Duration::from_secs(1);
}

/// How long the CA may take to validate the names before a later run looks again.
const VALIDATION: Duration = Duration::from_secs(120);

/// An order that is not ready after this long is given up.
const GIVE_UP: Duration = Duration::from_secs(86_400);
