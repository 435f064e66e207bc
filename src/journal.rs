//! The only writer of facts: an event is folded into them and durable before its effect happens.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::access::Access;
use crate::domain::bucket::ISSUANCES;
use crate::domain::name::Name;
use crate::domain::problem::Failure;
use crate::domain::time::Time;
use crate::ports::{Clock, Journal, Store, StoreError, Version};
use crate::state::{Event, Facts, Unfit, parse, record, render};

/// A journal over a store: one small file a certificate.
///
/// One mutex: a save is one small file's, so ten thousand certificates cost no more than ten, and
/// parallel certificates see what the others have just learnt.
pub struct StoreJournal<'a> {
    store: &'a dyn Store,
    clock: &'a dyn Clock,
    pages: Mutex<BTreeMap<Name, Page>>,
}

#[derive(Clone, Debug)]
struct Page {
    facts: Facts,
    version: Option<Version>,
    /// Why it must not be written.
    frozen: Option<Failure>,
    /// What a damaged file said, to be set aside before the first write.
    damaged: Option<Damage>,
}

/// A state file that could not be used.
#[derive(Clone, Debug)]
pub struct Damage {
    /// What is wrong.
    pub why: String,
    bytes: Vec<u8>,
}

impl<'a> StoreJournal<'a> {
    /// Reads what is remembered of these certificates.
    ///
    /// Nothing is written: without the lock, what was read may only be looked at.
    #[must_use]
    pub fn open(store: &'a dyn Store, clock: &'a dyn Clock, names: &[&Name]) -> Self {
        let pages = names.iter().map(|name| ((*name).clone(), Self::read(store, clock.now(), name))).collect();
        Self { store, clock, pages: Mutex::new(pages) }
    }

    /// The state files that are damaged, and why.
    #[must_use]
    pub fn damages(&self) -> Vec<(Name, Damage)> {
        let pages = self.pages();
        pages.iter().filter_map(|(name, page)| page.damaged.clone().map(|d| (name.clone(), d))).collect()
    }

    /// The state files that cannot be read at all: nothing can be done for those certificates when they are due.
    #[must_use]
    pub fn unreadable(&self) -> Vec<(Name, Failure)> {
        let pages = self.pages();
        let frozen = pages.iter().filter_map(|(name, page)| Some((name.clone(), page.frozen.clone()?)));
        frozen.filter(|(_, failure)| failure.code == "state-unreadable").collect()
    }

    fn read(store: &dyn Store, now: Time, name: &Name) -> Page {
        let frozen = |failure: Failure| Page { facts: Facts::default(), version: None, frozen: Some(failure), damaged: None };
        let blob = match store.get(&key(name)) {
            Ok(Some(blob)) => blob,
            Ok(None) => {
                let issued_before = store.list(&format!("certs/{name}")).map_or(true, |l| !l.is_empty());
                let facts = if issued_before { rebuilt(now) } else { Facts::default() };
                return Page { facts, version: None, frozen: None, damaged: None };
            }
            Err(error) => {
                return frozen(
                    Failure::local("state-unreadable", format!("reading the state: {error}"))
                        .with_hint("give certctl access to its state directory; it does nothing without its memory"),
                );
            }
        };
        match parse(&blob.bytes) {
            Ok(read) => {
                let frozen = read.newer.map(|version| {
                    let path = store.path(&key(name));
                    Failure::local("state-newer", format!("{} was written by a newer certctl (state version {version})", path.display()))
                        .with_hint("upgrade certctl on this host, or remove the other version from its cron jobs")
                });
                Page { facts: read.facts, version: Some(blob.version), frozen, damaged: None }
            }
            Err(Unfit::Damaged(why)) => {
                Page { facts: rebuilt(now), version: Some(blob.version), frozen: None, damaged: Some(Damage { why, bytes: blob.bytes }) }
            }
        }
    }

    fn pages(&self) -> MutexGuard<'_, BTreeMap<Name, Page>> {
        // A page is replaced only after it was written, so a panic elsewhere leaves none half-changed.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for StoreJournal<'_> {
    fn facts(&self, name: &Name) -> Facts {
        self.pages().get(name).map(|page| page.facts.clone()).unwrap_or_default()
    }

    fn note(&self, name: &Name, event: Event) -> Result<(), Failure> {
        let mut pages = self.pages();
        let page = match pages.get(name) {
            Some(page) => page.clone(),
            None => Self::read(self.store, self.clock.now(), name),
        };
        if let Some(failure) = page.frozen {
            return Err(failure);
        }
        let not_durable = |error: StoreError| {
            Failure::local("state-unwritable", format!("writing the state: {error}"))
                .with_hint("without memory no CA is contacted: make the state directory writable, or free space")
        };
        if let Some(Damage { bytes, .. }) = &page.damaged {
            let aside = format!("{}.damaged", key(name));
            let before = self.store.get(&aside).map_err(not_durable)?.map(|b| b.version);
            self.store.put(&aside, bytes, before.as_ref(), Access::PUBLIC).map_err(not_durable)?;
        }
        let facts = record(page.facts, event, self.clock.now());
        let text = render(&facts);
        let version = self.store.put(&key(name), text.as_bytes(), page.version.as_ref(), Access::PUBLIC).map_err(not_durable)?;
        pages.insert(name.clone(), Page { facts, version: Some(version), frozen: None, damaged: None });
        Ok(())
    }
}

/// What is assumed where memory was lost beside a certificate: damage, not youth. One careful attempt.
fn rebuilt(now: Time) -> Facts {
    Facts { issuances: Some(now.after(ISSUANCES.emission * (ISSUANCES.burst - 1))), ..Facts::default() }
}

fn key(name: &Name) -> String {
    format!("state/{name}.toml")
}
