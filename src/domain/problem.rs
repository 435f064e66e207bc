//! What went wrong, understood: from an ACME problem, an HTTP status or a broken wire to a class.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::name::Identifier;
use super::text::escape;

/// Whose fault a failure is, and so what may follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// The CA or the way to it: 5xx, timeouts, answers that are no ACME.
    Ca,
    /// The host that was to be validated: whatever failed inside a challenge.
    Host,
    /// A limit of the CA, with its date.
    Limited,
    /// This machine: disk, permissions, ports, hooks.
    Local,
    /// A person has to act: the CA refuses the account, the name or the request.
    Operator,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ca => "ca",
            Self::Host => "host",
            Self::Limited => "limited",
            Self::Local => "local",
            Self::Operator => "operator",
        })
    }
}

/// A failure as a value: it is remembered, reported, and never a panic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whose fault.
    pub class: Class,
    /// A stable word for programs: the ACME error type without its prefix, else one of ours.
    pub code: String,
    /// The name that failed, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier: Option<Identifier>,
    /// What failed, in our words: a fragment with the URL, file or command in it.
    pub message: String,
    /// What the other side said, in its words, not yet escaped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Where a person can read more or act: the problem's `instance`, a `Link` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// How long the CA asked us to wait.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "seconds")]
    pub retry_after: Option<Duration>,
    /// The next action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    /// A failure with a class, a code and a message; the rest is added by `with_…`.
    #[must_use]
    pub fn new(class: Class, code: &str, message: impl Into<String>) -> Self {
        Self {
            class,
            code: code.to_owned(),
            identifier: None,
            message: message.into(),
            detail: None,
            link: None,
            retry_after: None,
            hint: None,
        }
    }

    /// A failure of this machine.
    #[must_use]
    pub fn local(code: &str, message: impl Into<String>) -> Self {
        Self::new(Class::Local, code, message)
    }

    /// Adds the next action.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what the other side said.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the name that failed.
    #[must_use]
    pub fn with_identifier(mut self, identifier: Identifier) -> Self {
        self.identifier = Some(identifier);
        self
    }

    /// The same failure with every text cut to what a state file may hold.
    ///
    /// A hostile CA may send a mebibyte of detail; memory of it must stay small.
    #[must_use]
    pub fn cut(mut self) -> Self {
        let texts = [Some(&mut self.message), self.detail.as_mut(), self.link.as_mut(), self.hint.as_mut(), Some(&mut self.code)];
        for text in texts.into_iter().flatten() {
            if let Some((end, _)) = text.char_indices().nth(MAX_REMEMBERED) {
                text.truncate(end);
            }
        }
        self
    }

    /// The next action: the failure's own hint, else what its class asks for.
    #[must_use]
    pub fn advice(&self) -> &str {
        self.hint.as_deref().unwrap_or(match self.class {
            Class::Ca => "the CA, or something on the way to it, has trouble; the next run tries again",
            Class::Host => "mend what the CA found at the name; `certctl renew NAME` tries again at once",
            Class::Limited => "the CA names the time; until then there is nothing to do",
            Class::Local => "mend it on this host; the next run tries again",
            Class::Operator => "do what the CA says, then run `certctl renew NAME`",
        })
    }

    /// Whether `other` is the same trouble again: a person was told already.
    ///
    /// Not by the detail: it holds tokens, addresses and times that differ in each attempt.
    #[must_use]
    pub fn same_reason(&self, other: &Self) -> bool {
        (self.class, &self.code, &self.identifier) == (other.class, &other.code, &other.identifier)
    }
}

/// One line for people; what came from outside is escaped.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.message))?;
        if let Some(detail) = &self.detail {
            write!(f, ": {}", escape(detail))?;
        }
        if let Some(link) = &self.link
            && self.detail.as_ref().is_none_or(|d| !d.contains(link.as_str()))
        {
            write!(f, " (see {})", escape(link))?;
        }
        Ok(())
    }
}

/// Where in the protocol a problem was met; the same type means different things in different places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Asking for or about an account.
    Account,
    /// Inside an authorization or challenge.
    Challenge,
    /// Finalizing an order.
    Finalize,
    /// Placing an order.
    NewOrder,
    /// Everything else: fetching an order, a certificate, the directory.
    Other,
}

/// An ACME problem document (RFC 8555 §6.7, RFC 7807), as far as certctl acts on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// The type, with or without the ACME prefix.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The CA's words.
    pub detail: Option<String>,
    /// Where a person can act (`userActionRequired`).
    pub instance: Option<String>,
    /// What went wrong with each identifier.
    pub subproblems: Vec<Subproblem>,
}

/// A part of a compound problem (RFC 8555 §6.7.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Subproblem {
    /// The type.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The CA's words.
    pub detail: Option<String>,
    /// The identifier that it is about.
    pub identifier: Option<ProblemIdentifier>,
}

/// An identifier as a problem document writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ProblemIdentifier {
    /// The name or address.
    pub value: String,
}

impl Problem {
    /// The type without its prefix: `badNonce`, `rateLimited`, …; empty where there is none.
    #[must_use]
    pub fn code(&self) -> &str {
        let kind = self.kind.as_deref().unwrap_or("");
        kind.strip_prefix(ACME_PREFIX).unwrap_or(kind)
    }

    /// Understands the problem: class by place, type and status, text last.
    ///
    /// `status` is the HTTP status of the answer that carried it, `None` for a problem inside an object.
    /// Unknown types fall to the class of their place.
    #[must_use]
    pub fn understand(&self, place: Place, status: Option<u16>, message: impl Into<String>) -> Failure {
        let code = self.code();
        let class = if status.is_some_and(|s| s >= 500) {
            Class::Ca
        } else {
            match (place, code) {
                // Whatever its type: the CA counts each invalid authorization against the host.
                (Place::Challenge, _) => Class::Host,
                (_, "rateLimited") if self.is_pause() => Class::Operator,
                (_, "rateLimited") if self.is_busy() => Class::Ca,
                (Place::Account | Place::NewOrder, "rateLimited") => Class::Limited,
                (_, "rateLimited" | "serverInternal" | "badNonce") => Class::Ca,
                (
                    _,
                    "accountDoesNotExist"
                    | "badPublicKey"
                    | "badSignatureAlgorithm"
                    | "caa"
                    | "compound"
                    | "externalAccountRequired"
                    | "invalidContact"
                    | "invalidProfile"
                    | "rejectedIdentifier"
                    | "unauthorized"
                    | "unsupportedContact"
                    | "unsupportedIdentifier"
                    | "userActionRequired",
                ) => Class::Operator,
                (Place::Account | Place::NewOrder, "malformed") => Class::Operator,
                (Place::Finalize, "badCSR") => Class::Operator,
                _ => Class::Ca,
            }
        };
        let mut failure = Failure::new(class, if code.is_empty() { "problem" } else { code }, message);
        failure.detail = self.words();
        failure.link.clone_from(&self.instance);
        failure.identifier = match self.subproblems.as_slice() {
            [only] => only.identifier.as_ref().and_then(|i| i.value.parse().ok()),
            _ => None,
        };
        failure.hint = hint(place, code).map(str::to_owned);
        failure
    }

    /// Boulder tells a paused account by text alone: the type and the status are an ordinary 429's.
    fn is_pause(&self) -> bool {
        self.detail.as_ref().is_some_and(|d| d.contains("temporarily prevented") || d.contains("/unpause?"))
    }

    fn is_busy(&self) -> bool {
        self.detail.as_ref().is_some_and(|d| d.starts_with("Service busy"))
    }

    fn words(&self) -> Option<String> {
        let parts = self.subproblems.iter().filter_map(|s| {
            let name = s.identifier.as_ref().map(|i| format!("{}: ", i.value)).unwrap_or_default();
            s.detail.as_ref().map(|d| format!("{name}{d}"))
        });
        let all: Vec<String> = self.detail.iter().cloned().chain(parts).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

fn hint(place: Place, code: &str) -> Option<&'static str> {
    Some(match (place, code) {
        (Place::Challenge, "connection") => {
            "the CA must reach the name on port 80: check its A and AAAA records, the firewall, and what listens there"
        }
        (Place::Challenge, "dns") => "the CA cannot look the name up: check its A, AAAA and CAA records at the zone's own name servers",
        (Place::Challenge, "unauthorized" | "incorrectResponse") => {
            "something else answered: does the name lead to this host, and is `webroot` the directory that is shown for it?"
        }
        (_, code) => return request_hint(code),
    })
}

fn request_hint(code: &str) -> Option<&'static str> {
    Some(match code {
        "accountDoesNotExist" => "the CA does not know the saved account key: is this the right directory, or was the CA's data wiped?",
        "caa" => "a CAA record of the domain forbids this CA: change the record or the `ca`",
        "externalAccountRequired" => {
            "this CA wants an external account binding: set `eab = { kid = \"…\", hmac = { file = \"…\" } }` in its [ca.…] table"
        }
        "invalidProfile" => "the CA does not offer this `profile`: see the profiles in its directory's `meta`",
        "rejectedIdentifier" => "the CA will not issue for this name: remove it from `domains`, or ask another `ca`",
        "userActionRequired" => "open the link, do what it asks, and run `certctl renew` again",
        _ => return None,
    })
}

/// Whole seconds, as files keep a span.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(span: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        span.map(|s| s.as_secs()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_secs))
    }
}

/// Characters of each text that are remembered.
const MAX_REMEMBERED: usize = 2048;

const ACME_PREFIX: &str = "urn:ietf:params:acme:error:";

#[cfg(test)]
mod tests {
    use super::*;

    fn understand(place: Place, status: u16, kind: &str, detail: &str) -> Failure {
        let problem = Problem { kind: Some(format!("{ACME_PREFIX}{kind}")), detail: Some(detail.to_owned()), ..Problem::default() };
        problem.understand(place, Some(status), "placing the order")
    }

    #[test]
    fn classes() {
        for (place, status, kind, detail, class) in [
            (Place::NewOrder, 429, "rateLimited", "too many new orders (300) from this account", Class::Limited),
            (
                Place::NewOrder,
                429,
                "rateLimited",
                "Your account is temporarily prevented from requesting certificates for a.example",
                Class::Operator,
            ),
            (Place::NewOrder, 503, "rateLimited", "Service busy; retry later.", Class::Ca),
            (Place::NewOrder, 429, "rateLimited", "Service busy; retry later.", Class::Ca),
            (Place::NewOrder, 400, "rejectedIdentifier", "policy forbids issuing", Class::Operator),
            (Place::NewOrder, 500, "serverInternal", "", Class::Ca),
            (Place::Challenge, 200, "connection", "timeout", Class::Host),
            (Place::Challenge, 200, "serverInternal", "could not communicate with VA", Class::Host),
            (Place::Challenge, 200, "caa", "CAA record prevents issuance", Class::Host),
            (Place::Finalize, 403, "caa", "rechecking caa", Class::Operator),
            (Place::Finalize, 403, "orderNotReady", "", Class::Ca),
            (Place::Account, 403, "externalAccountRequired", "", Class::Operator),
            (Place::Other, 400, "neverHeardOf", "", Class::Ca),
        ] {
            assert_eq!(understand(place, status, kind, detail).class, class, "{place:?} {status} {kind} {detail}");
        }
    }

    #[test]
    fn hostile_words_are_escaped_when_shown() {
        let failure = understand(Place::Other, 400, "malformed", "\u{1b}[2Jgone\nforged line");
        assert_eq!(failure.to_string(), "placing the order: \\u{1b}[2Jgone forged line");
    }

    #[test]
    fn problem_documents_of_any_shape_parse() {
        for text in ["{}", r#"{"type":null}"#, r#"{"type":"about:blank","status":"x","extra":[1]}"#] {
            let problem: Result<Problem, _> = serde_json::from_str(text);
            assert!(problem.is_ok(), "{text}");
        }
        let text = r#"{"type":"urn:ietf:params:acme:error:compound","subproblems":[{"type":"x","detail":"bad tld","identifier":{"type":"dns","value":"a.invalid"}}]}"#;
        let problem: Problem = serde_json::from_str(text).expect("valid");
        let failure = problem.understand(Place::NewOrder, Some(400), "placing the order");
        assert_eq!(failure.identifier, "a.invalid".parse().ok());
        assert_eq!(failure.detail.as_deref(), Some("a.invalid: bad tld"));
    }
}
