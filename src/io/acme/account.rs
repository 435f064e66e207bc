//! Our account at a CA: found, recovered by its key, or registered.
//!
//! ```text
//! accounts/<ca>/key.pem        PKCS#8, 0600, durable before the CA hears of it
//! accounts/<ca>/account.toml   the account's URL
//! ```

use rcgen::KeyPair;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use ureq::http::{Method, Uri};

use crate::config::Ca;
use crate::domain::access::Access;
use crate::domain::name::Directory;
use crate::domain::problem::{Class, Failure, Place};
use crate::domain::time::Time;
use crate::io::host;
use crate::io::http::header;
use crate::ports::Version;

use super::Office;
use super::jws::AccountKey;
use super::wire::{Wire, WireError};

/// An account that the CA knows.
pub(super) struct Account {
    pub(super) url: String,
    pub(super) key_pkcs8: Vec<u8>,
}

/// `account.toml`.
#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    directory: Directory,
    url: String,
    registered: Time,
}

/// The account at a CA; registered only where none is saved and the CA knows none by our key.
pub(super) fn open(ca: &Ca, wire: &Wire, office: &Office<'_>) -> Result<Account, Failure> {
    let folder = format!("accounts/{}", ca.directory.folder());
    let (key_at, saved_at) = (format!("{folder}/key.pem"), format!("{folder}/account.toml"));
    let stored = office.store.get(&key_at)?;
    let had_key = stored.is_some();
    let pem = match stored {
        Some(blob) => String::from_utf8(blob.bytes).unwrap_or_default(),
        None => new_key()?,
    };
    let pair = KeyPair::from_pem(&pem).map_err(|_| damaged_key(office, &key_at))?;
    let account = |url: String| Account { url, key_pkcs8: pair.serialize_der() };
    let saved = office.store.get(&saved_at)?;
    let version = saved.as_ref().map(|blob| blob.version.clone());
    if had_key && let Some(url) = saved.and_then(|blob| read_saved(&blob.bytes, &ca.directory)) {
        return Ok(account(url));
    }
    if !had_key {
        if version.is_some() {
            // An account without its key: a backup that was half restored. A second account would hide that.
            return Err(Failure::local(
                "account-key-lost",
                format!("{} is gone, and the account beside it is not", office.store.path(&key_at).display()),
            )
            .with_hint("restore the key from a backup, or remove the whole folder to register a new account"));
        }
        office.store.put(&key_at, pem.as_bytes(), None, Access::PRIVATE)?;
    }
    let key = AccountKey::from_pkcs8(&pair.serialize_der()).map_err(|_| damaged_key(office, &key_at))?;
    // A key that was there may have been registered by a run that was killed before it could say so.
    let known = if had_key { existing(ca, wire, &key)? } else { None };
    let url = match known {
        Some(url) => url,
        None => register(ca, wire, office, &key)?,
    };
    save(office, &saved_at, version.as_ref(), &ca.directory, &url)?;
    Ok(account(url))
}

fn new_key() -> Result<String, Failure> {
    let pair = KeyPair::generate().map_err(|e| Failure::local("key", format!("making the account key: {e}")))?;
    Ok(pair.serialize_pem())
}

fn damaged_key(office: &Office<'_>, key_at: &str) -> Failure {
    Failure::local("account-key", format!("{} is not an ECDSA P-256 private key", office.store.path(key_at).display()))
        .with_hint("restore it from a backup, or remove the whole folder to register a new account")
}

fn read_saved(bytes: &[u8], directory: &Directory) -> Option<String> {
    let saved: Saved = toml::from_str(std::str::from_utf8(bytes).ok()?).ok()?;
    (saved.directory == *directory && !saved.url.is_empty()).then_some(saved.url)
}

fn save(office: &Office<'_>, at: &str, before: Option<&Version>, directory: &Directory, url: &str) -> Result<(), Failure> {
    let saved = Saved { version: 1, directory: directory.clone(), url: url.to_owned(), registered: office.clock.now() };
    let text = toml::to_string(&saved).map_err(|e| Failure::local("store", format!("writing the account: {e}")))?;
    office.store.put(at, text.as_bytes(), before, Access::PRIVATE)?;
    Ok(())
}

/// The account that the CA knows by our key (RFC 8555 §7.3.1).
fn existing(ca: &Ca, wire: &Wire, key: &AccountKey) -> Result<Option<String>, Failure> {
    let what = format!("asking {} for our account", ca.label);
    match post(wire, key, &what, |_| Ok(json!({"onlyReturnExisting": true})))? {
        Ok(url) => Ok(Some(url)),
        Err(error) if error.code() == "accountDoesNotExist" => Ok(None),
        Err(error) => Err(error.understand(Place::Account, &what)),
    }
}

/// Registers our key (RFC 8555 §7.3).
fn register(ca: &Ca, wire: &Wire, office: &Office<'_>, key: &AccountKey) -> Result<String, Failure> {
    let what = format!("registering an account at {}", ca.label);
    let directory = wire.directory().map_err(|e| e.understand(Place::Account, &what))?;
    let directory: Value = serde_json::from_slice(&directory.body).unwrap_or_default();
    let meta = &directory["meta"];
    let terms = meta["termsOfService"].as_str();
    if !ca.accept_terms {
        let message = format!("{what}: its terms of service are not accepted");
        let failure =
            Failure::new(Class::Operator, "terms", message).with_hint("read them and set accept_terms = true in its [ca.…] table");
        return Err(terms.map_or(failure.clone(), |terms| failure.with_detail(terms)));
    }
    if meta["externalAccountRequired"].as_bool() == Some(true) && ca.eab.is_none() {
        let hint = format!(
            "get a key id and hmac key from the CA and set eab = {{ kid = \"…\", hmac = {{ file = \"…\" }} }} in [ca.{}]",
            ca.label
        );
        return Err(Failure::new(Class::Operator, "externalAccountRequired", format!("{what}: it wants an external account binding"))
            .with_hint(hint));
    }
    let secret = ca.eab.as_ref().map(|eab| host::secret(&eab.hmac).map(|hmac| (eab.kid.clone(), hmac)));
    let secret = secret.transpose().map_err(|why| {
        Failure::local("eab", format!("{what}: the hmac of its `eab`: {why}")).with_hint("put the hmac key that the CA gave you there")
    })?;
    let payload = |url: &str| -> Result<Value, Failure> {
        let mut payload = json!({"termsOfServiceAgreed": true});
        if let Some(email) = office.email {
            payload["contact"] = json!([format!("mailto:{email}")]);
        }
        if let Some((kid, hmac)) = &secret {
            payload["externalAccountBinding"] =
                key.binding(url, kid, hmac).map_err(|why| Failure::local("eab", format!("{what}: {why}")))?;
        }
        Ok(payload)
    };
    let url = post(wire, key, &what, payload)?.map_err(|error| error.understand(Place::Account, &what))?;
    if let Some(terms) = terms {
        let text = format!(
            "registered at {}; naming it in the config accepts its terms of service, {}",
            ca.label,
            crate::domain::text::escape(terms)
        );
        office.progress.note(&text);
    }
    Ok(url)
}

/// Sends an account request, again where its nonce was refused; the account's URL, or the CA's refusal.
fn post(
    wire: &Wire,
    key: &AccountKey,
    what: &str,
    payload: impl Fn(&str) -> Result<Value, Failure>,
) -> Result<Result<String, WireError>, Failure> {
    let seen = |e: WireError| e.understand(Place::Account, what);
    let directory = wire.directory().map_err(seen)?;
    let directory: Value = serde_json::from_slice(&directory.body).unwrap_or_default();
    let resource = |name: &str| -> Result<(Uri, String), Failure> {
        let text = directory[name].as_str().unwrap_or_default();
        let uri = text.parse().map_err(|_| Failure::new(Class::Ca, "no-directory", format!("{what}: the directory names no {name}")))?;
        Ok((uri, text.to_owned()))
    };
    let ((nonce_url, _), (account_url, url)) = (resource("newNonce")?, resource("newAccount")?);
    let payload = payload(&url)?;
    for _ in 0..super::client::BAD_NONCES {
        let fresh = wire.exchange(&Method::HEAD, &nonce_url, None, &[]).map_err(seen)?.headers;
        let nonce = header(&fresh, "replay-nonce").unwrap_or_default();
        let body = key.sign(&url, nonce, &payload).map_err(|why| Failure::local("key", format!("{what}: {why}")))?;
        match wire.exchange(&Method::POST, &account_url, Some("application/jose+json"), &body) {
            // The only answer of that status that comes through: the nonce was refused.
            Ok(reply) if reply.status == 400 => {}
            Ok(reply) => {
                let location = header(&reply.headers, "location").filter(|l| l.parse::<Uri>().is_ok());
                return location
                    .map(|l| Ok(l.to_owned()))
                    .ok_or_else(|| Failure::new(Class::Ca, "protocol", format!("{what}: the CA names no account URL")));
            }
            Err(error) => return Ok(Err(error)),
        }
    }
    Err(Failure::new(Class::Ca, "badNonce", format!("{what}: the CA refused {} nonces in a row", super::client::BAD_NONCES)))
}
