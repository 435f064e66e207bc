//! One CA and our account there, over instant-acme.
//!
//! Its `poll_*` loops are not used: they sleep before they look and ignore Retry-After. Its futures
//! never wait for anything but our blocking [`Adapter`], so one poll ends each.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use instant_acme::{AuthorizationStatus as WireAuthorization, ChallengeStatus, ChallengeType, NewOrder, OrderStatus as WireStatus};
use ureq::http::Uri;

use crate::config::Ca;
use crate::domain::name::{Directory, Identifier};
use crate::domain::problem::{Class, Failure, Place, Problem, ProblemIdentifier, Subproblem};
use crate::domain::request::Request;
use crate::domain::text::escape;
use crate::io::http::Http;
use crate::ports::{Authority, Authorization, AuthorizationStatus, Offer, Order, OrderStatus};

use super::Office;
use super::account;
use super::wire::{Adapter, Wire, WireError, told};

/// One CA, connected.
pub(super) struct Client {
    account: instant_acme::Account,
    directory: Directory,
    label: String,
    /// The handles of the orders of this run, by URL.
    orders: Mutex<BTreeMap<String, Handle>>,
}

/// An order, and which of its authorizations it holds in memory.
struct Handle {
    order: instant_acme::Order,
    fetched: BTreeSet<String>,
}

/// How often a request is repeated because its nonce was refused; instant-acme tries three times itself.
pub(super) const BAD_NONCES: usize = 5;

impl Client {
    /// Connects to a CA: its directory, our account.
    pub(super) fn open(ca: &Ca, office: &Office<'_>) -> Result<Self, Failure> {
        let uri: Uri = ca.directory.as_str().parse().map_err(|_| Failure::local("directory", format!("{} is not a URL", ca.directory)))?;
        let mut hosts = ca.hosts.clone();
        hosts.push(ca.directory.host().to_owned());
        let wire = Arc::new(Wire::new(Http::new(hosts, ca.roots.as_deref(), office.proxy, office.patience)?, uri));
        let account = account::open(ca, &wire, office)?;
        let builder = instant_acme::Account::builder_with_http(Box::new(Adapter(wire)));
        let opened = now(builder.from_parts(account.url, account.key_pkcs8.as_slice().into(), ca.directory.as_str().to_owned()));
        let account = opened.map_err(|error| understand(&error, Place::Other, &format!("asking {} for its directory", ca.label)))?;
        Ok(Self { account, directory: ca.directory.clone(), label: ca.label.clone(), orders: Mutex::default() })
    }

    /// Runs a request, again where its nonce was refused (RFC 8555 §6.5).
    fn call<T>(&self, place: Place, what: &str, request: impl FnMut() -> Result<T, instant_acme::Error>) -> Result<T, Failure> {
        self.call_raw(request).map_err(|error| understand(&error, place, what))
    }

    fn orders(&self) -> MutexGuard<'_, BTreeMap<String, Handle>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with an order's handle, without keeping other orders waiting.
    fn with<T>(&self, url: &str, what: &str, act: impl FnOnce(&Self, &mut Handle) -> Result<T, Failure>) -> Result<T, Failure> {
        let taken = self.orders().remove(url);
        let mut handle = match taken {
            Some(handle) => handle,
            None => {
                let order = self.call(Place::Other, what, || now(self.account.order(url.to_owned())))?;
                Handle { order, fetched: BTreeSet::new() }
            }
        };
        let result = act(self, &mut handle);
        self.orders().insert(url.to_owned(), handle);
        result
    }
}

impl Authority for Client {
    fn account(&self) -> String {
        self.account.id().to_owned()
    }

    fn directory(&self) -> Directory {
        self.directory.clone()
    }

    fn new_order(&self, request: &Request) -> Result<Order, Failure> {
        let what = format!("placing an order at {}", self.label);
        let identifiers: Vec<instant_acme::Identifier> = request
            .identifiers
            .iter()
            .map(|identifier| match identifier {
                Identifier::Dns(name) => instant_acme::Identifier::Dns(name.clone()),
                Identifier::Ip(ip) => instant_acme::Identifier::Ip(*ip),
            })
            .collect();
        let mut new = NewOrder::new(&identifiers);
        if let Some(profile) = &request.profile {
            new = new.profile(profile);
        }
        let mut order = self.call(Place::NewOrder, &what, || now(self.account.new_order(&new)))?;
        let view = view(&mut order);
        self.orders().insert(view.url.clone(), Handle { order, fetched: BTreeSet::new() });
        Ok(view)
    }

    fn order(&self, url: &str) -> Result<Option<Order>, Failure> {
        let what = format!("fetching the order {} at {}", escape(url), self.label);
        let taken = self.orders().remove(url);
        let fetched = match taken {
            Some(mut handle) => {
                let refreshed = self.call_raw(|| now(handle.order.refresh()).map(drop));
                refreshed.map(|()| handle.order)
            }
            None => self.call_raw(|| now(self.account.order(url.to_owned()))),
        };
        match fetched {
            Ok(mut order) => {
                let view = view(&mut order);
                // A fetched order holds no authorizations: instant-acme forgets them with the old state.
                self.orders().insert(url.to_owned(), Handle { order, fetched: BTreeSet::new() });
                Ok(Some(view))
            }
            Err(error) if wire_error(&error).and_then(WireError::status) == Some(404) => Ok(None),
            Err(error) => Err(understand(&error, Place::Other, &what)),
        }
    }

    fn authorization(&self, order: &str, url: &str) -> Result<Authorization, Failure> {
        let what = format!("fetching the authorization {} at {}", escape(url), self.label);
        self.with(order, &what, |client, handle| {
            // Fetched just now where it was not in memory, else asked for again.
            let known = handle.fetched.contains(url);
            let thumbprint = client.account.key_thumbprint().to_owned();
            let authorization = client.call(Place::Other, &what, || now(find(&mut handle.order, url, known, &thumbprint)))?;
            handle.fetched.insert(url.to_owned());
            authorization.ok_or_else(|| Failure::new(Class::Ca, "protocol", format!("{what}: the order does not have it")))?
        })
    }

    fn answer(&self, order: &str, authorization: &str, challenge: &str) -> Result<(), Failure> {
        let what = format!("answering a challenge at {}", self.label);
        self.with(order, &what, |client, handle| {
            client.call(Place::Other, &what, || match now(ready(&mut handle.order, authorization, challenge)) {
                // Refusals come as answers of the wire; this is the challenge itself, already judged. The order tells.
                Err(error @ instant_acme::Error::Api(_)) if !is_bad_nonce(&error) => Ok(()),
                other => other,
            })
        })
    }

    fn finalize(&self, order: &str, csr: &[u8]) -> Result<Order, Failure> {
        let what = format!("asking {} for the certificate", self.label);
        self.with(order, &what, |client, handle| {
            client.call(Place::Finalize, &what, || now(handle.order.finalize_csr(csr)))?;
            handle.fetched.clear();
            Ok(view(&mut handle.order))
        })
    }

    fn certificate(&self, order: &str) -> Result<Vec<u8>, Failure> {
        let what = format!("fetching the certificate from {}", self.label);
        self.with(order, &what, |client, handle| {
            let pem = client.call(Place::Other, &what, || now(handle.order.certificate()))?;
            let missing = || Failure::new(Class::Ca, "protocol", format!("{what}: the order is valid and has none"));
            Ok(pem.ok_or_else(missing)?.into_bytes())
        })
    }
}

impl Client {
    fn call_raw<T>(&self, mut request: impl FnMut() -> Result<T, instant_acme::Error>) -> Result<T, instant_acme::Error> {
        for _ in 1..BAD_NONCES {
            match request() {
                Err(error) if is_bad_nonce(&error) => {}
                other => return other,
            }
        }
        request()
    }
}

/// Drives a future of instant-acme's to its end: one poll.
fn now<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        // The only thing that these futures await is `Adapter::request`, which blocks instead of
        // waiting; the `poll_*` methods, which sleep, are never called.
        Poll::Pending => unreachable!("an ACME request that waits for something else than the wire"),
    }
}

async fn find(
    order: &mut instant_acme::Order,
    url: &str,
    refresh: bool,
    thumbprint: &str,
) -> Result<Option<Result<Authorization, Failure>>, instant_acme::Error> {
    let mut authorizations = order.authorizations();
    while let Some(handle) = authorizations.next().await {
        let mut handle = handle?;
        if handle.url() != url {
            continue;
        }
        if refresh {
            handle.refresh().await?;
        }
        return Ok(Some(authorization(&handle, thumbprint)));
    }
    Ok(None)
}

async fn ready(order: &mut instant_acme::Order, authorization: &str, challenge: &str) -> Result<(), instant_acme::Error> {
    let mut authorizations = order.authorizations();
    while let Some(handle) = authorizations.next().await {
        let mut handle = handle?;
        if handle.url() != authorization {
            continue;
        }
        let kind: Option<ChallengeType> = handle.challenges.iter().find(|c| c.url == challenge).map(|c| c.r#type.clone());
        if let Some(mut challenge) = kind.and_then(|kind| handle.challenge(kind)) {
            return challenge.set_ready().await;
        }
    }
    Err(instant_acme::Error::Str("the order no longer has this challenge"))
}

fn authorization(state: &instant_acme::AuthorizationState, thumbprint: &str) -> Result<Authorization, Failure> {
    let identifier = match state.identifier().identifier {
        instant_acme::Identifier::Dns(name) => match name.parse() {
            Ok(identifier) => identifier,
            Err(_) => {
                return Err(Failure::new(Class::Ca, "protocol", format!("the CA names something that is no domain: {}", escape(name))));
            }
        },
        instant_acme::Identifier::Ip(ip) => Identifier::Ip(*ip),
        other => {
            return Err(Failure::new(
                Class::Ca,
                "protocol",
                format!("the CA names an identifier of an unknown kind: {}", escape(&format!("{other:?}"))),
            ));
        }
    };
    let failure = || {
        let problem = state.challenges.iter().find_map(|c| c.error.as_ref())?;
        let told = problem_of(problem).understand(Place::Challenge, None, format!("proving {identifier}"));
        Some(told.with_identifier(identifier.clone()))
    };
    let status = match state.status {
        WireAuthorization::Pending => AuthorizationStatus::Pending,
        WireAuthorization::Valid => AuthorizationStatus::Valid,
        _ => AuthorizationStatus::Invalid(failure()),
    };
    let offer = |challenge: &instant_acme::Challenge| Offer {
        kind: kind(&challenge.r#type).to_owned(),
        url: challenge.url.clone(),
        token: challenge.token.clone(),
        key_authorization: format!("{}.{thumbprint}", challenge.token),
        pending: matches!(challenge.status, ChallengeStatus::Pending),
    };
    let challenges = state.challenges.iter().map(offer).collect();
    Ok(Authorization { identifier, status, challenges })
}

fn kind(kind: &ChallengeType) -> &str {
    match kind {
        ChallengeType::Http01 => "http-01",
        ChallengeType::Dns01 => "dns-01",
        ChallengeType::TlsAlpn01 => "tls-alpn-01",
        ChallengeType::Unknown(name) => name,
        _ => "another",
    }
}

/// The order as instant-acme has it, with what its answer said beside.
fn view(order: &mut instant_acme::Order) -> Order {
    let told = told();
    let url = order.url().to_owned();
    let state = order.state();
    let failure = || {
        let problem = problem_of(state.error.as_ref()?);
        // RFC 8555 §7.1.6: an order fails with its authorizations, or while it is finalized.
        let proof = matches!(problem.code(), "connection" | "dns" | "incorrectResponse" | "malformed" | "tls" | "unauthorized");
        let place = if proof { Place::Challenge } else { Place::Finalize };
        Some(problem.understand(place, None, "the CA gave the order up"))
    };
    let status = match state.status {
        WireStatus::Pending => OrderStatus::Pending,
        WireStatus::Ready => OrderStatus::Ready,
        WireStatus::Processing => OrderStatus::Processing,
        WireStatus::Valid => OrderStatus::Valid,
        WireStatus::Invalid => OrderStatus::Invalid(failure()),
    };
    Order {
        url,
        status,
        authorizations: state.authorizations.iter().map(|a| a.url.clone()).collect(),
        expires: told.expires,
        poll_after: told.retry_after,
    }
}

fn problem_of(problem: &instant_acme::Problem) -> Problem {
    let part = |sub: &instant_acme::Subproblem| Subproblem {
        kind: sub.r#type.clone(),
        detail: sub.detail.clone(),
        identifier: sub.identifier.as_ref().map(|identifier| ProblemIdentifier { value: identifier.authorized(false).to_string() }),
    };
    Problem {
        kind: problem.r#type.clone(),
        detail: problem.detail.clone(),
        instance: None,
        subproblems: problem.subproblems.iter().map(part).collect(),
    }
}

fn is_bad_nonce(error: &instant_acme::Error) -> bool {
    matches!(error, instant_acme::Error::Api(problem) if problem_of(problem).code() == "badNonce")
}

fn wire_error(error: &instant_acme::Error) -> Option<&WireError> {
    match error {
        instant_acme::Error::Other(inner) => inner.downcast_ref(),
        _ => None,
    }
}

fn understand(error: &instant_acme::Error, place: Place, what: &str) -> Failure {
    if let Some(wire) = wire_error(error) {
        return wire.understand(place, what);
    }
    match error {
        instant_acme::Error::Api(problem) => problem_of(problem).understand(place, None, what),
        other => {
            Failure::new(Class::Ca, "protocol", format!("{what}: the answer is not what RFC 8555 says")).with_detail(other.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_the_ca_is_parsed_or_escaped() {
        let read = |name: &str| {
            let json = serde_json::json!({"identifier": {"type": "dns", "value": name}, "status": "pending", "challenges": []});
            authorization(&serde_json::from_value(json).expect("an authorization"), "thumbprint")
        };
        assert_eq!(read("A.example").expect("a name").identifier.to_string(), "a.example");
        let failure = read("a\u{1b}[31m\r\nb.example").expect_err("no name");
        assert!(!failure.to_string().contains(['\u{1b}', '\r', '\n']), "{failure}");
    }
}
