//! What instant-acme sends and what it drops.
//!
//! instant-acme asks for the directory with each account, for a nonce with each order, and throws
//! away headers, statuses and bodies that are no JSON. All HTTP passes through here: the directory is
//! answered from memory, nonces are pooled over all orders of a run, and what came back is kept.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use ureq::http::header::{CONTENT_TYPE, HeaderMap};
use ureq::http::{Method, Request, Response, Uri};

use crate::domain::problem::{Class, Failure, Place, Problem};
use crate::domain::text::escape;
use crate::domain::time::Time;
use crate::io::http::{Http, Reply, header};

/// One CA's wire, shared by all orders of a run.
pub(super) struct Wire {
    http: Http,
    directory: Mutex<Option<Arc<Reply>>>,
    directory_url: Uri,
    nonces: Mutex<Nonces>,
    returned: Condvar,
}

/// Replay nonces that no request has used yet, and how many requests will bring another.
#[derive(Default)]
struct Nonces {
    free: VecDeque<String>,
    in_flight: usize,
}

/// An answer that is not what was asked for.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    uri: Uri,
    problem: Option<Problem>,
    retry_after: Option<Duration>,
    link: Option<String>,
    body: String,
}

/// What the last answer on this thread said beside its object.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) retry_after: Option<Duration>,
    pub(super) expires: Option<Time>,
}

thread_local! {
    // instant-acme returns objects, not answers. Each of its calls is one poll on the calling
    // thread, so the thread is the way back.
    static TOLD: RefCell<Told> = RefCell::default();
}

/// What the answer to this thread's last request said beside its object.
pub(super) fn told() -> Told {
    TOLD.with_borrow(Clone::clone)
}

impl Wire {
    pub(super) fn new(http: Http, directory_url: Uri) -> Self {
        Self { http, directory: Mutex::default(), directory_url, nonces: Mutex::default(), returned: Condvar::new() }
    }

    /// One exchange with the CA.
    pub(super) fn exchange(&self, method: &Method, uri: &Uri, content_type: Option<&str>, body: &[u8]) -> Result<Reply, WireError> {
        if *method == Method::HEAD {
            return self.nonce(uri);
        }
        if *method == Method::GET && *uri == self.directory_url {
            return self.directory();
        }
        let posting = *method == Method::POST;
        let sent = self.http.send(method, uri, content_type, body);
        if posting {
            self.settle();
        }
        let kept = sent.map_err(WireError::Broken).and_then(|reply| self.keep(uri, reply));
        // Also after a failure: who waits for this request's nonce must not wait for nothing.
        self.returned.notify_all();
        kept
    }

    /// The directory, asked for once a run and never kept longer: CAs move their URLs.
    pub(super) fn directory(&self) -> Result<Reply, WireError> {
        let mut cached = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reply) = cached.as_deref() {
            return Ok(reply.clone());
        }
        let reply = self.http.send(&Method::GET, &self.directory_url, None, &[]).map_err(WireError::Broken)?;
        let reply = self.keep(&self.directory_url, reply)?;
        let is_directory = serde_json::from_slice::<serde_json::Value>(&reply.body).is_ok_and(|v| v.get("newNonce").is_some());
        if !is_directory {
            let message = format!("{} is not an ACME directory", self.directory_url);
            let failure = Failure::new(Class::Ca, "no-directory", message).with_detail(prefix(&reply.body));
            return Err(WireError::Broken(
                failure.with_hint("check the directory's URL, and whether something stands between this host and the CA"),
            ));
        }
        *cached = Some(Arc::new(reply.clone()));
        Ok(reply)
    }

    /// A nonce for a signed request: a pooled one, one that is about to come back, else a new one.
    ///
    /// Orders that run side by side share the nonces that circulate, so a run asks for one, not for
    /// one an order. Waiting is bounded: where a round trip takes longer than [`PATIENCE`], as
    /// public CAs' do, a further request for a nonce is cheaper than the wait.
    fn nonce(&self, uri: &Uri) -> Result<Reply, WireError> {
        let begun = Instant::now();
        let mut nonces = self.nonces();
        loop {
            if let Some(nonce) = nonces.free.pop_back() {
                nonces.in_flight += 1;
                return Ok(with_nonce(&nonce));
            }
            let rest = PATIENCE.saturating_sub(begun.elapsed());
            if nonces.in_flight == 0 || rest.is_zero() {
                break;
            }
            nonces = self.returned.wait_timeout(nonces, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
        nonces.in_flight += 1;
        drop(nonces);
        let asked = self.http.send(&Method::HEAD, uri, None, &[]).map_err(WireError::Broken);
        let nonce = asked.and_then(|reply| match (reply.status, header(&reply.headers, REPLAY_NONCE)) {
            (200 | 204, Some(nonce)) => Ok(with_nonce(nonce)),
            _ => Err(WireError::Refused(Box::new(Refusal::new(uri, &reply)))),
        });
        if nonce.is_err() {
            self.settle();
            self.returned.notify_all();
        }
        nonce
    }

    /// Takes the nonce out of an answer, remembers what instant-acme would drop, and refuses what is no ACME.
    fn keep(&self, uri: &Uri, mut reply: Reply) -> Result<Reply, WireError> {
        let problem = (reply.status >= 400).then(|| serde_json::from_slice::<Problem>(&reply.body).ok()).flatten();
        let bad_nonce = problem.as_ref().is_some_and(|p| p.code() == "badNonce") && reply.status == 400;
        // Into the pool it goes, from which the next request takes the newest: after a refused nonce that
        // is the one of this very answer, as RFC 8555 §6.5 wants it.
        if let Some(nonce) = reply.headers.remove(REPLAY_NONCE).and_then(|n| n.to_str().ok().map(str::to_owned)) {
            let mut nonces = self.nonces();
            if nonces.free.len() < MAX_NONCES {
                nonces.free.push_back(nonce);
            }
        }
        if bad_nonce {
            // instant-acme signs again, with another nonce, as long as it sees this answer.
            return Ok(reply);
        }
        let expires = serde_json::from_slice::<serde_json::Value>(&reply.body).ok();
        let expires = expires.and_then(|v| Time::parse(v.get("expires")?.as_str()?));
        TOLD.set(Told { retry_after: retry_after(&reply.headers), expires });
        let is_acme = reply.body.is_empty()
            || reply.body.trim_ascii_start().starts_with(b"-----BEGIN ")
            || serde_json::from_slice::<serde::de::IgnoredAny>(&reply.body).is_ok();
        if (200..300).contains(&reply.status) && is_acme {
            return Ok(reply);
        }
        Err(WireError::Refused(Box::new(Refusal::new(uri, &reply))))
    }

    /// A request that held a nonce has ended.
    fn settle(&self) {
        let mut nonces = self.nonces();
        nonces.in_flight = nonces.in_flight.saturating_sub(1);
    }

    fn nonces(&self) -> MutexGuard<'_, Nonces> {
        self.nonces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why an exchange brought no ACME object.
#[derive(Debug)]
pub(super) enum WireError {
    /// No answer that is HTTP.
    Broken(Failure),
    /// An answer, and not the one that was asked for.
    Refused(Box<Refusal>),
}

impl WireError {
    /// The failure, seen from where in the protocol it was met.
    pub(super) fn understand(&self, place: Place, what: &str) -> Failure {
        match self {
            Self::Broken(failure) => {
                let mut failure = failure.clone();
                failure.message = format!("{what}: {}", failure.message);
                failure
            }
            Self::Refused(refusal) => refusal.understand(place, what),
        }
    }

    /// The HTTP status, where there was one.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Broken(_) => None,
            Self::Refused(refusal) => Some(refusal.status),
        }
    }

    /// The problem's type, where there was one.
    pub(super) fn code(&self) -> &str {
        match self {
            Self::Broken(_) => "",
            Self::Refused(refusal) => refusal.problem.as_ref().map_or("", Problem::code),
        }
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.understand(Place::Other, "talking to the CA").fmt(f)
    }
}

impl std::error::Error for WireError {}

impl Refusal {
    fn new(uri: &Uri, reply: &Reply) -> Self {
        // A body that is JSON and no problem document has no type, and says nothing as one.
        let problem = serde_json::from_slice::<Problem>(&reply.body).ok().filter(|p| p.kind.is_some() || p.detail.is_some());
        Self {
            status: reply.status,
            uri: uri.clone(),
            problem,
            retry_after: retry_after(&reply.headers),
            link: link(&reply.headers),
            body: prefix(&reply.body),
        }
    }

    fn understand(&self, place: Place, what: &str) -> Failure {
        let mut failure = match &self.problem {
            Some(problem) => problem.understand(place, Some(self.status), what),
            None => {
                let message = format!("{what}: {} answered with status {} and no ACME", escape(&self.uri.to_string()), self.status);
                let failure = Failure::new(Class::Ca, "no-acme", message);
                if self.body.is_empty() { failure } else { failure.with_detail(&*self.body) }
            }
        };
        failure.retry_after = self.retry_after;
        failure.link = failure.link.or_else(|| self.link.clone());
        failure
    }
}

/// The wire as instant-acme's HTTP client.
pub(super) struct Adapter(pub(super) Arc<Wire>);

impl HttpClient for Adapter {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let wire = Arc::clone(&self.0);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            // The body's error type is uninhabited.
            let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let content_type = parts.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
            let reply =
                wire.exchange(&parts.method, &parts.uri, content_type, &body).map_err(|e| instant_acme::Error::Other(Box::new(e)))?;
            let mut response = Response::new(());
            *response.status_mut() = ureq::http::StatusCode::from_u16(reply.status).unwrap_or_default();
            *response.headers_mut() = reply.headers;
            let (parts, ()) = response.into_parts();
            Ok(BytesResponse { parts, body: Box::new(Bytes::from(reply.body)) })
        })
    }
}

/// `Retry-After`, delta-seconds or a date (RFC 9110 §10.2.3); what is absurd is cut to 8 days.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = header(headers, "retry-after")?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a number holds is a long time all the same.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)).min(LONGEST));
    }
    let date = |text: &str| httpdate::parse_http_date(text).ok();
    let until = date(text)?;
    // Against the CA's own clock, so that ours may be wrong.
    let now = header(headers, "date").and_then(date).unwrap_or_else(SystemTime::now);
    Some(until.duration_since(now).unwrap_or(Duration::ZERO).min(LONGEST))
}

/// The link that a person should follow: terms to agree to, or help.
fn link(headers: &HeaderMap) -> Option<String> {
    let links = headers.get_all("link").iter().filter_map(|v| v.to_str().ok());
    links.flat_map(|l| l.split(',')).find_map(|link| {
        let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
        let useful = rest.contains("terms-of-service") || rest.contains("help");
        useful.then(|| target.to_owned())
    })
}

fn with_nonce(nonce: &str) -> Reply {
    let mut headers = HeaderMap::new();
    if let Ok(value) = nonce.parse() {
        headers.insert(REPLAY_NONCE, value);
    }
    Reply { status: 200, headers, body: Vec::new() }
}

fn prefix(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(300)]);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

const REPLAY_NONCE: &str = "replay-nonce";

/// More would be older than a CA remembers.
const MAX_NONCES: usize = 16;

/// How long a request waits for another one's nonce before it asks for its own.
const PATIENCE: Duration = Duration::from_millis(250);

/// Let's Encrypt never asks for more than 35 hours, ZeroSSL for a day.
const LONGEST: Duration = Duration::from_secs(8 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert("date", "Mon, 23 Nov 2026 00:00:00 GMT".parse().expect("valid"));
        headers.insert("retry-after", text.parse().expect("valid"));
        retry_after(&headers).map(|d| d.as_secs())
    }

    #[test]
    fn retry_after_of_every_kind() {
        let week = LONGEST.as_secs();
        for (text, seconds) in [
            ("120", Some(120)),
            ("0", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
            ("1000000000000000000", Some(week)),
            ("99999999999999999999999999", Some(week)),
            ("Mon, 23 Nov 2026 00:02:00 GMT", Some(120)),
            ("Sun, 22 Nov 2026 00:00:00 GMT", Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(week)),
        ] {
            assert_eq!(after(text), seconds, "{text}");
        }
    }
}
