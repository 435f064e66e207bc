//! The world as traits: what policy and execution may rely on, and what they must not.
//!
//! Everything is blocking and shared between threads. What is async inside a library stays inside
//! its file in `io/`. A test's model of the world implements these and nothing else.

use std::path::{Path, PathBuf};

use crate::config::{Certificate, Challenge};
use crate::domain::access::Access;
use crate::domain::inventory::{Bundle, Generation};
use crate::domain::name::{Directory, Identifier, Name};
use crate::domain::problem::Failure;
use crate::domain::request::{KeyType, Request};
use crate::domain::step::TargetId;
use crate::domain::time::Time;
use crate::state::{Event, Facts};

/// Every port that executing a step may use.
#[derive(Clone, Copy)]
#[expect(missing_docs, reason = "each field is named as its trait, which is documented")]
pub struct Ports<'a> {
    pub authorities: &'a dyn Authorities,
    pub clock: &'a dyn Clock,
    pub deployer: &'a dyn Deployer,
    pub journal: &'a dyn Journal,
    pub keys: &'a dyn Keys,
    pub progress: &'a dyn Progress,
    pub solver: &'a dyn Solver,
    pub vault: &'a dyn Vault,
}

/// The only clock, and the only way to wait.
pub trait Clock: Send + Sync {
    /// The time. MAY go backwards: the machine's clock may be set.
    fn now(&self) -> Time;

    /// Waits until `instant`; MUST return early when the run is told to stop.
    fn sleep_until(&self, instant: Time);

    /// Whether the run was told to stop (a signal). Once true, stays true.
    fn stopped(&self) -> bool;
}

/// The way from effects to memory: a fact is durable before what it announces happens.
pub trait Journal: Send + Sync {
    /// What is remembered about a certificate.
    fn facts(&self, name: &Name) -> Facts;

    /// Folds an event into the facts and makes them durable.
    ///
    /// MUST have made them durable when it returns `Ok`. On `Err` the caller MUST NOT do what the
    /// event announces.
    fn note(&self, name: &Name, event: Event) -> Result<(), Failure>;
}

/// The CAs of the config.
pub trait Authorities: Send + Sync {
    /// The CA at a directory, with our account there; created on first use, once per run and CA.
    ///
    /// MUST NOT register an account where one is saved. MUST have the key durable before the
    /// request that registers it.
    fn at(&self, directory: &Directory) -> Result<&dyn Authority, Failure>;
}

/// One CA and our account there: one wire request a method.
///
/// Methods repeat a request that was refused for its nonce (RFC 8555 §6.5) and nothing else; they do
/// not wait and decide nothing.
pub trait Authority: Send + Sync {
    /// The account's URL.
    fn account(&self) -> String;

    /// The directory that this CA is known by.
    fn directory(&self) -> Directory;

    /// Places an order.
    fn new_order(&self, request: &Request) -> Result<Order, Failure>;

    /// Fetches an order; `Ok(None)` where the CA no longer knows it.
    fn order(&self, url: &str) -> Result<Option<Order>, Failure>;

    /// Fetches one authorization of an order.
    fn authorization(&self, order: &str, url: &str) -> Result<Authorization, Failure>;

    /// Tells the CA that a challenge can be validated.
    fn answer(&self, order: &str, authorization: &str, challenge: &str) -> Result<(), Failure>;

    /// Sends the CSR, DER.
    fn finalize(&self, order: &str, csr: &[u8]) -> Result<Order, Failure>;

    /// Fetches the certificate of a valid order: PEM, at most 1 MiB, compared with nothing yet.
    fn certificate(&self, order: &str) -> Result<Vec<u8>, Failure>;
}

/// An order as the CA told it last (RFC 8555 §7.1.3).
#[derive(Clone, Debug)]
pub struct Order {
    /// Its URL.
    pub url: String,
    /// Its status.
    pub status: OrderStatus,
    /// The URLs of its authorizations.
    pub authorizations: Vec<String>,
    /// When the CA forgets it.
    pub expires: Option<Time>,
    /// How long the CA asked us to wait before asking again.
    pub poll_after: Option<std::time::Duration>,
}

/// The status of an order (RFC 8555 §7.1.6).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the RFC's own words")]
pub enum OrderStatus {
    Pending,
    Ready,
    Processing,
    Valid,
    /// Why, where the CA says it.
    Invalid(Option<Failure>),
}

/// One authorization (RFC 8555 §7.1.4).
#[derive(Clone, Debug)]
pub struct Authorization {
    /// What it is for; a wildcard authorization names the base.
    pub identifier: Identifier,
    /// Whether the identifier was validated already.
    pub status: AuthorizationStatus,
    /// What the CA offers to prove control.
    pub challenges: Vec<Offer>,
}

/// The status of an authorization, as far as it matters to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorizationStatus {
    /// To be answered, or being validated.
    Pending,
    /// Proven.
    Valid,
    /// Failed, expired, deactivated or revoked; why, where the CA says it.
    Invalid(Option<Failure>),
}

/// One challenge that a CA offers.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Its type: `http-01`, …
    pub kind: String,
    /// Its URL.
    pub url: String,
    /// The token, as the CA sent it: not yet checked.
    pub token: String,
    /// What proves control: token and account key thumbprint.
    pub key_authorization: String,
    /// Whether it waits to be answered; a challenge is answered once.
    pub pending: bool,
}

/// The answers to challenges.
pub trait Solver: Send + Sync {
    /// Checks that an answer could be given: directory writable, port free.
    ///
    /// MUST be called before an order is placed, MUST NOT touch the network.
    fn ready(&self, challenge: &Challenge) -> Result<(), Failure>;

    /// Makes the answer visible.
    ///
    /// The answer MUST be gone when the returned value is dropped, also after a panic. MUST refuse a
    /// token that is not base64url before it becomes a path. MUST NOT answer for other tokens.
    fn present(&self, challenge: &Challenge, token: &str, key_authorization: &str) -> Result<Box<dyn Presented>, Failure>;

    /// Removes what a killed run may have left for this token; best effort.
    fn sweep(&self, challenge: &Challenge, token: &str);
}

/// An answer that is visible until this is dropped.
pub trait Presented: Send {
    /// Leaves the answer visible where it can outlive the run: the CA has not judged it yet.
    ///
    /// Whoever goes on with the order MUST sweep it.
    fn leave(self: Box<Self>);
}

/// Bytes by key, as a file system, S3 or PostgreSQL can give them.
///
/// Keys are relative paths with `/`. A key below `live/` is a pointer: its bytes are the key that it
/// points at. A file system makes it a symbolic link, so that servers can follow it.
pub trait Store: Send + Sync {
    /// Reads; `Ok(None)` only where there is surely nothing.
    fn get(&self, key: &str) -> Result<Option<Blob>, StoreError>;

    /// Writes durably and at once: a reader sees the old bytes or the new.
    ///
    /// Succeeds only on the version that was read (`None`: nothing there).
    fn put(&self, key: &str, bytes: &[u8], expected: Option<&Version>, access: Access) -> Result<Version, StoreError>;

    /// The last parts of the keys directly below a prefix, in no order.
    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError>;

    /// Removes everything at and below a key; nothing there is success.
    fn delete(&self, key: &str) -> Result<(), StoreError>;

    /// Whether what lies at and below a key has this owner, group and mode.
    fn access_fits(&self, key: &str, access: Access) -> Result<bool, StoreError>;

    /// Gives what lies at and below a key this owner, group and mode.
    fn set_access(&self, key: &str, access: Access) -> Result<(), StoreError>;

    /// Where a key can be found by other programs.
    fn path(&self, key: &str) -> PathBuf;
}

/// What was read, and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// For `put`.
    pub version: Version,
}

/// What tells one content of a key from another; opaque.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub String);

/// Why a store did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Someone else has written since.
    Changed(String),
    /// It cannot be read or written: permissions, a full disk, a missing mount.
    Failed(String),
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Changed(key) => write!(f, "{key} was changed by someone else"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::local("store", error.to_string())
    }
}

/// What a probe saw of a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Of device, inode, size, times, mode and owner.
    pub fingerprint: u64,
    /// Of device, inode, mode and owner alone: a directory that changes all the time is still itself.
    pub identity: u64,
    /// When it was changed last.
    pub changed: Time,
}

/// How the disk is asked whether anything has changed.
pub trait Probe: Sync {
    /// What a file or directory looks like, following links.
    fn file(&self, path: &Path) -> Option<Seen>;
    /// The same of what lies at a path below `live/`: asked ten thousand times, so relative to that directory.
    fn live(&self, relative: &str) -> Option<Seen>;
}

/// Generations of certificates: what is live, what is being made.
pub trait Vault: Send + Sync {
    /// What the live link names, unparsed; `Ok(None)` only where there surely is none.
    fn live(&self, name: &Name) -> Result<Option<Stored>, StoreError>;

    /// The newest generation whose `meta.toml` was written, live or not.
    fn newest(&self, name: &Name) -> Result<Option<Stored>, StoreError>;

    /// Whether a generation has this owner, group and mode.
    fn access_fits(&self, name: &Name, generation: Generation, access: Access) -> Result<bool, StoreError>;

    /// The key that an unfinished order was begun with.
    fn pending_key(&self, name: &Name) -> Result<Option<String>, StoreError>;

    /// Makes a key durable before the CA hears of it.
    fn stage_key(&self, name: &Name, key: &str) -> Result<(), StoreError>;

    /// Writes a whole generation, then points the live link at it by one atomic switch.
    ///
    /// Key and chain become visible together or not at all. Keeps the newest `keep` generations.
    fn install(&self, name: &Name, bundle: &Bundle, keep: usize) -> Result<Generation, StoreError>;

    /// Points the live link at a generation that is there.
    fn restore(&self, name: &Name, generation: Generation) -> Result<(), StoreError>;

    /// Gives the files of every generation this owner, group and mode: an old key is a key too.
    fn set_access(&self, name: &Name, access: Access) -> Result<(), StoreError>;

    /// Removes what an unfinished order left, once nothing needs it.
    fn clear_pending(&self, name: &Name) -> Result<(), StoreError>;

    /// Checks that there is room for a generation before a CA is asked for one.
    fn room(&self) -> Result<(), Failure>;

    /// Where other programs find the live certificate.
    fn live_path(&self, name: &Name) -> PathBuf;
}

/// A generation's files as they are.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Which one; `None` where the live link points at something else.
    pub generation: Option<Generation>,
    /// `privkey.pem`.
    pub key: Option<Vec<u8>>,
    /// `cert.pem`.
    pub cert: Option<Vec<u8>>,
    /// `chain.pem`.
    pub chain: Option<Vec<u8>>,
    /// `fullchain.pem`.
    pub fullchain: Option<Vec<u8>>,
    /// `meta.toml`.
    pub meta: Option<Vec<u8>>,
}

impl Stored {
    /// Whether there is nothing at all: a link that leads nowhere.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        let Self { generation: _, key, cert, chain, fullchain, meta } = self;
        key.is_none() && cert.is_none() && chain.is_none() && fullchain.is_none() && meta.is_none()
    }
}

/// Private keys: the only randomness that execution needs.
pub trait Keys: Send + Sync {
    /// A new private key, PKCS#8 PEM.
    fn generate(&self, key_type: KeyType) -> Result<String, Failure>;

    /// A certificate signing request, DER: the names in the SAN, nothing in the subject.
    fn csr(&self, key: &str, request: &Request) -> Result<Vec<u8>, Failure>;
}

/// The programs of this host that serve certificates.
pub trait Deployer: Send + Sync {
    /// Brings a generation to a target.
    ///
    /// MUST end by `deadline`, with every process that it started in its group. MUST NOT pass
    /// secrets in arguments or environment.
    fn deploy(
        &self,
        certificate: &Certificate,
        target: &TargetId,
        held: &crate::domain::inventory::Held,
        deadline: Time,
    ) -> Result<(), Failure>;
}

/// Words for people, as things happen.
pub trait Progress: Send + Sync {
    /// Something changed: one line.
    fn changed(&self, name: &Name, text: &str);

    /// Something failed: one line, and the next action. `repeated`: people were told before.
    fn failed(&self, name: &Name, failure: &Failure, repeated: bool);

    /// What is going on, for `-v` and terminals.
    fn detail(&self, name: &Name, text: &str);

    /// A word about the run as a whole, as welcome as a change.
    fn note(&self, text: &str);

    /// A word about the run as a whole that people should see.
    fn warn(&self, text: &str, hint: Option<&str>);
}
