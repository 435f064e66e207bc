//! Values to text, JSON and an exit code. Nothing here prints.

use std::fmt::Write as _;

use serde::Serialize;

use crate::config::Certificate;
use crate::domain::inventory::Holding;
use crate::domain::name::{Directory, Identifier, Name};
use crate::domain::outcome::Exit;
use crate::domain::problem::Failure;
use crate::domain::request::KeyType;
use crate::domain::step::{Decision, Kind, Reason, Step};
use crate::domain::text::escape;
use crate::domain::time::{Time, span};
use crate::state::{Attempt, Deployment, Ended, Facts};

/// One certificate as it is reported: the same value for people and for programs.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// What people call it.
    pub name: Name,
    /// Its names, in the config's order.
    pub domains: Vec<Identifier>,
    /// How it is.
    pub state: State,
    /// Why, where it is damaged or cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Start of validity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
    /// End of validity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
    /// Who signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// SHA-256 of the leaf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint_sha256: Option<String>,
    /// The serial number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Its key's type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_type: Option<KeyType>,
    /// The live generation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Where its files are.
    pub path: String,
    /// The CA that the config names.
    pub ca: Directory,
    /// Whether a new certificate was installed in this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued: Option<bool>,
    /// What comes next.
    pub next: Next,
    /// What failed in this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The attempts that are remembered, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// Where the live generation is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deployments: Vec<Deployment>,
}

/// How a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words say it")]
pub enum State {
    Valid,
    Expired,
    Missing,
    Damaged,
    Unreadable,
}

/// The next step, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Next {
    /// The kind of step.
    pub step: Kind,
    /// When; absent means now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
    /// The reason as one word.
    pub reason: &'static str,
    /// The reason for people.
    pub why: String,
}

impl Entry {
    /// What is reported of a certificate.
    #[must_use]
    pub fn new(certificate: &Certificate, holding: &Holding, decision: &Decision, facts: &Facts, path: String, now: Time) -> Self {
        let leaf = match holding {
            Holding::Held(held) | Holding::Unlinked(held) => Some((held.generation, &held.leaf)),
            Holding::Missing | Holding::Damaged(_) | Holding::Unreadable(_) => None,
        };
        // Whoever may read the state and not the certificate still learns when it expires.
        let known = facts.installed.as_ref().filter(|_| matches!(holding, Holding::Unreadable(_)));
        let not_after = leaf.map(|(_, l)| l.not_after).or(known.map(|k| k.not_after));
        let state = match holding {
            Holding::Missing => State::Missing,
            Holding::Damaged(_) => State::Damaged,
            // Who may not read keys is told what the state says; only a trouble of the disk is one.
            Holding::Unreadable(why) => match known {
                Some(known) if why.contains(DENIED) && known.not_after <= now => State::Expired,
                Some(_) if why.contains(DENIED) => State::Valid,
                Some(_) | None => State::Unreadable,
            },
            Holding::Held(_) | Holding::Unlinked(_) if not_after.is_some_and(|e| e <= now) => State::Expired,
            Holding::Held(_) | Holding::Unlinked(_) => State::Valid,
        };
        let trouble = match holding {
            Holding::Damaged(why) | Holding::Unreadable(why) => Some(why.clone()),
            Holding::Missing | Holding::Held(_) | Holding::Unlinked(_) => None,
        };
        let Decision { step, reason } = decision;
        let mut why = match holding {
            Holding::Unreadable(why) if why.contains(DENIED) && known.is_some() => "this user may not read it".to_owned(),
            _ => reason.to_string(),
        };
        if let Some(last) = facts.last_attempt().and_then(|a| a.failure.as_ref())
            && !matches!(reason, Reason::FailedNow(_) | Reason::Adopted(_) | Reason::NotDue { .. })
        {
            let _ = write!(why, "; the last attempt failed: {last}");
        }
        Self {
            name: certificate.name.clone(),
            domains: certificate.domains.clone(),
            state,
            trouble,
            not_before: leaf.map(|(_, l)| l.not_before).or(known.map(|k| k.not_before)),
            not_after,
            issuer: leaf.map(|(_, l)| l.issuer.clone()).or(known.map(|k| k.issuer.clone())),
            fingerprint_sha256: leaf.map(|(_, l)| l.fingerprint.clone()).or(known.map(|k| k.fingerprint.clone())),
            serial: leaf.map(|(_, l)| l.serial.clone()),
            key_type: leaf.and_then(|(_, l)| l.key_type),
            generation: leaf.map(|(g, _)| g.0).or(known.map(|k| k.generation.0)),
            path,
            // A certificate has at least one CA by construction.
            ca: certificate.cas[0].clone(),
            issued: None,
            next: Next { step: step.kind(), at: step.until(), reason: reason.code(), why },
            failure: None,
            attempts: Vec::new(),
            deployments: Vec::new(),
        }
    }
}

/// The JSON of a command: one object, additive for ever within its schema.
///
/// `ok`: whether all certificates are as they should be; `exit` is the command's own exit code.
#[must_use]
pub fn json(command: &str, ok: bool, exit: Exit, entries: &[Entry]) -> String {
    #[derive(Serialize)]
    struct Report<'a> {
        schema: &'static str,
        command: &'a str,
        ok: bool,
        exit: u8,
        certificates: &'a [Entry],
    }
    let report = Report { schema: SCHEMA, command, ok, exit: exit.code(), certificates: entries };
    // Strings, numbers and lists of them always have a JSON form.
    let mut text = serde_json::to_string_pretty(&report).unwrap_or_default();
    text.push('\n');
    text
}

/// What `plan` says: one line a certificate.
#[must_use]
pub fn plan(entries: &[Entry], now: Time, verbose: bool) -> String {
    let rows = entries.iter().map(|entry| {
        let when = match entry.next.at {
            None => "now".to_owned(),
            Some(at) if at <= now => "next run".to_owned(),
            Some(at) => format!("in {}", span(at.since(now))),
        };
        let mut why = entry.next.why.clone();
        if verbose {
            let at = entry.next.at.map(|at| format!(" (at {at})")).unwrap_or_default();
            let _ = write!(why, "{at}; CA {}; {}", entry.ca, domains(entry));
        }
        vec![entry.name.to_string(), entry.next.step.to_string(), when, why]
    });
    table(&["NAME", "STEP", "WHEN", "WHY"], rows.collect())
}

/// What `status` says: one line a certificate.
#[must_use]
pub fn status(entries: &[Entry], strays: &[String], now: Time) -> String {
    let rows = entries.iter().map(|entry| {
        let state = match entry.state {
            State::Valid => "valid",
            State::Expired => "EXPIRED",
            State::Missing => "MISSING",
            State::Damaged => "DAMAGED",
            State::Unreadable => "UNREADABLE",
        };
        vec![entry.name.to_string(), state.to_owned(), expires(entry, now), next(entry, now)]
    });
    let mut text = table(&["NAME", "STATE", "EXPIRES", "NEXT"], rows.collect());
    for stray in strays {
        let _ = writeln!(text, "{stray}: in the vault and not in the config; nothing renews it");
    }
    text
}

/// What `status NAME` says: everything that is known.
#[must_use]
pub fn detail(entry: &Entry, now: Time) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "{key:<12} {value}");
    };
    line("name", entry.name.as_str());
    line("domains", &domains(entry));
    line("state", &serde_json::to_string(&entry.state).unwrap_or_default().replace('"', ""));
    if let Some(trouble) = &entry.trouble {
        line("trouble", trouble);
    }
    line("expires", &expires(entry, now));
    if let Some(issuer) = &entry.issuer {
        line("issuer", &escape(issuer));
    }
    if let Some(key_type) = entry.key_type {
        line("key", key_type.as_str());
    }
    if let Some(fingerprint) = &entry.fingerprint_sha256 {
        line("sha256", fingerprint);
    }
    line("files", &entry.path);
    line("ca", entry.ca.as_str());
    line("next", &next(entry, now));
    for deployment in &entry.deployments {
        let Deployment { target, generation, fingerprint: _, done, failures, tried, detail } = deployment;
        let what = match (done, tried) {
            (Some(done), _) => format!("generation {generation} since {done}"),
            (None, tried) => {
                let tried = tried.map(|t| format!(", last {t}")).unwrap_or_default();
                format!("generation {generation} pending, {failures} failures{tried}: {}", escape(detail.as_deref().unwrap_or_default()))
            }
        };
        line("target", &format!("{target}: {what}"));
    }
    for attempt in entry.attempts.iter().rev() {
        line("attempt", &attempt_line(attempt));
    }
    text
}

fn attempt_line(attempt: &Attempt) -> String {
    let Attempt { started, finished, at, result, failure } = attempt;
    let place = at.as_ref().map(|at| format!(" at {}", at.host())).unwrap_or_default();
    let how = match (result, failure, finished) {
        (Ended::Issued, ..) => "issued".to_owned(),
        (Ended::Failed, Some(failure), _) => format!("failed ({}): {failure}", failure.class),
        (Ended::Pending, Some(failure), _) => format!("left to a later run: {failure}"),
        (Ended::Failed | Ended::Pending, None, _) => "failed".to_owned(),
        (Ended::Unknown, ..) => "begun, and not ended: the run was killed, or it runs now".to_owned(),
    };
    format!("{started}{place}: {how}")
}

fn domains(entry: &Entry) -> String {
    entry.domains.iter().map(Identifier::to_string).collect::<Vec<_>>().join(" ")
}

fn expires(entry: &Entry, now: Time) -> String {
    match entry.not_after {
        None => "-".to_owned(),
        Some(at) if at <= now => format!("{at} ({} ago)", span(now.since(at))),
        Some(at) => format!("{at} (in {})", span(at.since(now))),
    }
}

fn next(entry: &Entry, now: Time) -> String {
    let Next { step, at, reason: _, why } = &entry.next;
    match (step, at) {
        (Kind::Nothing, Some(at)) => format!("renewal from {at}"),
        (_, Some(at)) if *at > now => format!("{step} until {at}: {why}"),
        (Kind::Wait, _) => format!("next run: {why}"),
        (step, _) => format!("{step} now: {why}"),
    }
}

/// Columns as wide as their widest cell; the last one runs free.
fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let all: Vec<Vec<String>> = std::iter::once(head.iter().map(|h| (*h).to_owned()).collect()).chain(rows).collect();
    let width = |column: usize| all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for row in &all {
        let last = row.len().saturating_sub(1);
        for (column, cell) in row.iter().enumerate() {
            let pad = if column == last { 0 } else { widths[column] + 2 - cell.chars().count() };
            let _ = write!(text, "{cell}{}", " ".repeat(pad));
        }
        text.push('\n');
    }
    text
}

/// What a waiting certificate says to a person who asked for it by name.
#[must_use]
pub fn not_now(decision: &Decision, now: Time) -> Option<String> {
    let Decision { step, reason } = decision;
    match (step, reason) {
        (_, Reason::FailedNow(_) | Reason::Adopted(Some(_)) | Reason::Unreadable(_)) => None,
        (_, Reason::Adopted(None)) => Some(reason.to_string()),
        (Step::Wait { until }, _) if *until > now => Some(format!("not before {until}: {reason}")),
        (Step::Wait { .. }, _) => Some(format!("left to the next run: {reason}")),
        _ => None,
    }
}

/// How the store says that this user may not.
const DENIED: &str = "permission denied";

/// The version of the JSON's shape.
const SCHEMA: &str = "certctl/1";
