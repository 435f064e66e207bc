//! A model of the world: ports in memory, over which the real driver runs.
//!
//! The store fails at a call of the test's choosing; the CA issues real certificates, counts what it
//! is asked, and forgets nothing that it has issued.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use certctl::config::{Certificate, Challenge};
use certctl::domain::access::Access;
use certctl::domain::hash::{hex, sha256};
use certctl::domain::inventory::Held;
use certctl::domain::name::{Directory, Identifier, Name};
use certctl::domain::problem::{Class, Failure};
use certctl::domain::request::Request;
use certctl::domain::step::TargetId;
use certctl::domain::time::Time;
use certctl::io::keys::SystemKeys;
use certctl::io::vault::StoreVault;
use certctl::journal::StoreJournal;
use certctl::ports::{
    Authorities, Authority, Authorization, AuthorizationStatus, Blob, Clock, Deployer, Offer, Order, OrderStatus, Ports, Presented,
    Progress, Solver, Store, StoreError, Version,
};
use certctl::run::{Orders, Row, drive};

/// The world: what outlives a run.
pub(crate) struct World {
    pub(crate) store: MemoryStore,
    pub(crate) ca: ModelCa,
    now: Mutex<Time>,
    /// What the deploy command does: `None` is success.
    pub(crate) deploy_fails: Mutex<bool>,
    pub(crate) deployed: Mutex<usize>,
    /// Answers to challenges that are visible; each holds a clone.
    visible: Arc<()>,
}

impl World {
    pub(crate) fn new() -> Self {
        let now = Time::parse("2026-06-01T00:00:00Z").expect("a time");
        Self {
            store: MemoryStore::default(),
            ca: ModelCa::new(),
            now: Mutex::new(now),
            deploy_fails: Mutex::new(false),
            deployed: Mutex::new(0),
            visible: Arc::new(()),
        }
    }

    /// One run over one certificate: the product's own driver.
    pub(crate) fn run(&self, certificate: &Certificate) -> Row {
        let vault = StoreVault::new(&self.store);
        let journal = StoreJournal::open(&self.store, self, &[&certificate.name]);
        let ports = Ports {
            authorities: self,
            clock: self,
            deployer: self,
            journal: &journal,
            keys: &SystemKeys,
            progress: self,
            solver: self,
            vault: &vault,
        };
        let started = self.now();
        let orders = Orders {
            started,
            deadline: started.after(Duration::from_secs(900)),
            share: Duration::from_secs(300),
            forced: [].into(),
            asked: [].into(),
            parallel: 1,
        };
        let row = drive(certificate, &orders, &ports);
        assert_eq!(Arc::strong_count(&self.visible), 1, "an answer to a challenge is left visible");
        row
    }

    pub(crate) fn pass(&self, span: Duration) {
        let mut now = lock(&self.now);
        *now = now.after(span);
    }
}

impl Clock for World {
    fn now(&self) -> Time {
        *lock(&self.now)
    }

    fn sleep_until(&self, instant: Time) {
        let mut now = lock(&self.now);
        *now = instant.max(*now);
    }

    fn stopped(&self) -> bool {
        false
    }
}

impl Authorities for World {
    fn at(&self, _directory: &Directory) -> Result<&dyn Authority, Failure> {
        self.ca.call()?;
        Ok(&self.ca)
    }
}

impl Solver for World {
    fn ready(&self, _challenge: &Challenge) -> Result<(), Failure> {
        Ok(())
    }

    fn present(&self, _challenge: &Challenge, _token: &str, _key_authorization: &str) -> Result<Box<dyn Presented>, Failure> {
        Ok(Box::new(Answer { _visible: Arc::clone(&self.visible) }))
    }

    fn sweep(&self, _challenge: &Challenge, _token: &str) {}
}

struct Answer {
    _visible: Arc<()>,
}

impl Presented for Answer {
    fn leave(self: Box<Self>) {}
}

impl Deployer for World {
    fn deploy(&self, _certificate: &Certificate, _target: &TargetId, _held: &Held, _deadline: Time) -> Result<(), Failure> {
        if *lock(&self.deploy_fails) {
            return Err(Failure::local("hook", "exit status 1"));
        }
        *lock(&self.deployed) += 1;
        Ok(())
    }
}

impl Progress for World {
    fn changed(&self, _name: &Name, _text: &str) {}
    fn failed(&self, _name: &Name, _failure: &Failure, _repeated: bool) {}
    fn detail(&self, _name: &Name, _text: &str) {}
    fn note(&self, _text: &str) {}
    fn warn(&self, _text: &str, _hint: Option<&str>) {}
}

/// Bytes in memory; the n-th write fails, once or from then on.
#[derive(Default)]
pub(crate) struct MemoryStore {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    writes: Mutex<usize>,
    fault: Mutex<Option<Fault>>,
}

/// Which write fails.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// The number of the write, from 1.
    pub(crate) at: usize,
    /// Whether every later one fails as well: a disk that is full, not a cosmic ray.
    pub(crate) lasting: bool,
}

impl MemoryStore {
    pub(crate) fn fail(&self, fault: Option<Fault>) {
        *lock(&self.writes) = 0;
        *lock(&self.fault) = fault;
    }

    pub(crate) fn writes(&self) -> usize {
        *lock(&self.writes)
    }

    pub(crate) fn read(&self, key: &str) -> Option<String> {
        lock(&self.files).get(key).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    fn write(&self, key: &str) -> Result<(), StoreError> {
        let mut writes = lock(&self.writes);
        *writes += 1;
        match *lock(&self.fault) {
            Some(Fault { at, lasting }) if *writes == at || (lasting && *writes > at) => {
                Err(StoreError::Failed(format!("{key}: no space left on device")))
            }
            _ => Ok(()),
        }
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &str) -> Result<Option<Blob>, StoreError> {
        let bytes = lock(&self.files).get(key).cloned();
        Ok(bytes.map(|bytes| Blob { version: version(&bytes), bytes }))
    }

    fn put(&self, key: &str, bytes: &[u8], expected: Option<&Version>, _access: Access) -> Result<Version, StoreError> {
        self.write(key)?;
        let mut files = lock(&self.files);
        if files.get(key).map(|bytes| version(bytes)).as_ref() != expected {
            return Err(StoreError::Changed(key.to_owned()));
        }
        files.insert(key.to_owned(), bytes.to_vec());
        Ok(version(bytes))
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let files = lock(&self.files);
        let below = files.keys().filter_map(|key| key.strip_prefix(prefix)?.strip_prefix('/'));
        let mut names: Vec<String> = below.map(|rest| rest.split('/').next().unwrap_or(rest).to_owned()).collect();
        names.dedup();
        Ok(names)
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.write(key)?;
        lock(&self.files).retain(|k, _| k != key && !k.starts_with(&format!("{key}/")));
        Ok(())
    }

    fn access_fits(&self, _key: &str, _access: Access) -> Result<bool, StoreError> {
        Ok(true)
    }

    fn set_access(&self, _key: &str, _access: Access) -> Result<(), StoreError> {
        Ok(())
    }

    fn path(&self, _key: &str) -> PathBuf {
        // Somewhere with room: free space is asked of it.
        std::env::temp_dir()
    }
}

fn version(bytes: &[u8]) -> Version {
    Version(hex(&sha256(bytes)))
}

/// A CA that issues, and counts.
pub(crate) struct ModelCa {
    state: Mutex<CaState>,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    root: String,
}

#[derive(Default)]
struct CaState {
    orders: Vec<CaOrder>,
    calls: usize,
    /// The number of the call that fails as if the wire broke; the CA may have done it all the same.
    broken: Option<usize>,
    answered: usize,
    /// The next download is cut short.
    garbled: bool,
}

#[derive(Clone)]
struct CaOrder {
    identifiers: Vec<Identifier>,
    validated: bool,
    certificate: Option<String>,
}

impl ModelCa {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).expect("signed").pem();
        Self { state: Mutex::default(), issuer: rcgen::Issuer::new(params, key), root }
    }

    pub(crate) fn orders(&self) -> usize {
        lock(&self.state).orders.len()
    }

    pub(crate) fn certificates(&self) -> usize {
        lock(&self.state).orders.iter().filter(|o| o.certificate.is_some()).count()
    }

    pub(crate) fn calls(&self) -> usize {
        lock(&self.state).calls
    }

    /// Lets the n-th call from now on fail after the CA has done what it asked for.
    pub(crate) fn break_wire(&self, at: Option<usize>) {
        let mut state = lock(&self.state);
        state.calls = 0;
        state.broken = at;
    }

    /// Lets the next download of a certificate be cut short.
    pub(crate) fn garble(&self) {
        lock(&self.state).garbled = true;
    }

    fn call(&self) -> Result<(), Failure> {
        let mut state = lock(&self.state);
        state.calls += 1;
        if state.broken == Some(state.calls) { Err(Failure::new(Class::Ca, "timeout", "the wire broke")) } else { Ok(()) }
    }

    fn view(&self, url: &str) -> Option<Order> {
        let number: usize = url.strip_prefix("order-")?.parse().ok()?;
        let order = lock(&self.state).orders.get(number)?.clone();
        let status = match (&order.certificate, order.validated) {
            (Some(_), _) => OrderStatus::Valid,
            (None, true) => OrderStatus::Ready,
            (None, false) => OrderStatus::Pending,
        };
        let authorizations = (0..order.identifiers.len()).map(|n| format!("{url}/{n}")).collect();
        Some(Order { url: url.to_owned(), status, authorizations, expires: None, poll_after: None })
    }

    fn with(&self, url: &str, act: impl FnOnce(&mut CaOrder)) {
        let number: usize = url.trim_start_matches("order-").parse().expect("our URL");
        act(&mut lock(&self.state).orders[number]);
    }
}

impl Authority for ModelCa {
    fn account(&self) -> String {
        "account".to_owned()
    }

    fn directory(&self) -> Directory {
        Directory::parse("https://ca.example/dir").expect("a URL")
    }

    fn new_order(&self, request: &Request) -> Result<Order, Failure> {
        let number = {
            let mut state = lock(&self.state);
            state.orders.push(CaOrder { identifiers: request.identifiers.iter().cloned().collect(), validated: false, certificate: None });
            state.orders.len() - 1
        };
        self.call()?;
        Ok(self.view(&format!("order-{number}")).expect("just placed"))
    }

    fn order(&self, url: &str) -> Result<Option<Order>, Failure> {
        self.call()?;
        Ok(self.view(url))
    }

    fn authorization(&self, order: &str, url: &str) -> Result<Authorization, Failure> {
        self.call()?;
        let number: usize = url.rsplit('/').next().expect("a number").parse().expect("a number");
        let mut found = None;
        self.with(order, |o| found = Some((o.identifiers[number].clone(), o.validated)));
        let (identifier, validated) = found.expect("an order");
        let offer = Offer {
            kind: "http-01".to_owned(),
            url: format!("{url}/challenge"),
            token: "token".to_owned(),
            key_authorization: "token.thumbprint".to_owned(),
            pending: !validated,
        };
        let status = if validated { AuthorizationStatus::Valid } else { AuthorizationStatus::Pending };
        Ok(Authorization { identifier, status, challenges: vec![offer] })
    }

    fn answer(&self, order: &str, _authorization: &str, _challenge: &str) -> Result<(), Failure> {
        self.with(order, |o| o.validated = true);
        lock(&self.state).answered += 1;
        self.call()
    }

    fn finalize(&self, order: &str, csr: &[u8]) -> Result<Order, Failure> {
        let csr = rcgen::CertificateSigningRequestParams::from_der(&csr.into()).expect("a CSR");
        let pem = csr.signed_by(&self.issuer).expect("signed").pem() + &self.root;
        self.with(order, |o| {
            o.certificate.get_or_insert(pem);
        });
        self.call()?;
        Ok(self.view(order).expect("an order"))
    }

    fn certificate(&self, order: &str) -> Result<Vec<u8>, Failure> {
        self.call()?;
        if std::mem::take(&mut lock(&self.state).garbled) {
            return Ok(b"-----BEGIN CERTIFICATE-----\nMIIB".to_vec());
        }
        let mut pem = None;
        self.with(order, |o| pem.clone_from(&o.certificate));
        Ok(pem.expect("issued").into_bytes())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
