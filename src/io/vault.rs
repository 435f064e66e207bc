//! Generations of certificates over a store.
//!
//! ```text
//! certs/<name>/<generation>/{privkey,cert,chain,fullchain}.pem, meta.toml
//! certs/<name>/pending/privkey.pem        the key of an order that was begun
//! live/<name>                             points at the current generation
//! ```
//!
//! `meta.toml` is written last: a generation without it was never finished. What was never finished
//! is never named by `live`, and its number is not used again before it is removed.

use std::path::PathBuf;

use crate::domain::access::Access;
use crate::domain::inventory::{Bundle, Generation};
use crate::domain::name::Name;
use crate::domain::problem::Failure;
use crate::ports::{Store, StoreError, Stored, Vault};

/// A vault over a store.
pub struct StoreVault<'a> {
    store: &'a dyn Store,
}

impl<'a> StoreVault<'a> {
    /// The vault in this store.
    #[must_use]
    pub const fn new(store: &'a dyn Store) -> Self {
        Self { store }
    }

    fn bytes(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.store.get(key)?.map(|blob| blob.bytes))
    }

    fn stored(&self, generation: Option<Generation>, at: &str) -> Result<Stored, StoreError> {
        let file = |file: &str| self.bytes(&format!("{at}/{file}"));
        Ok(Stored { generation, key: file(KEY)?, cert: file(CERT)?, chain: file(CHAIN)?, fullchain: file(FULLCHAIN)?, meta: file(META)? })
    }

    /// Every generation that is there, whole or not, oldest first.
    fn generations(&self, name: &Name) -> Result<Vec<Generation>, StoreError> {
        let names = self.store.list(&certificate(name))?;
        let mut all: Vec<Generation> = names.iter().filter_map(|n| generation(n)).collect();
        all.sort_unstable();
        Ok(all)
    }

    /// Removes what is beyond the newest `keep`, and what was never finished; never what is live.
    fn prune(&self, name: &Name, live: Generation, keep: usize) -> Result<(), StoreError> {
        let mut whole = 0;
        for generation in self.generations(name)?.into_iter().rev() {
            let finished = self.store.get(&format!("{}/{META}", directory(name, generation)))?.is_some();
            whole += usize::from(finished);
            if generation != live && (!finished || whole > keep) {
                self.store.delete(&directory(name, generation))?;
            }
        }
        Ok(())
    }

    fn point(&self, name: &Name, generation: Generation) -> Result<(), StoreError> {
        let before = self.store.get(&pointer(name))?.map(|blob| blob.version);
        self.store.put(&pointer(name), directory(name, generation).as_bytes(), before.as_ref(), Access::PUBLIC).map(|_| ())
    }
}

impl Vault for StoreVault<'_> {
    fn live(&self, name: &Name) -> Result<Option<Stored>, StoreError> {
        let Some(target) = self.bytes(&pointer(name))? else { return Ok(None) };
        // Read through what the link says, even where it leads out of the vault: that is what is served.
        let at = String::from_utf8_lossy(&target).into_owned();
        self.stored(pointed(name, &target), &at).map(Some)
    }

    fn newest(&self, name: &Name) -> Result<Option<Stored>, StoreError> {
        for generation in self.generations(name)?.into_iter().rev() {
            let stored = self.stored(Some(generation), &directory(name, generation))?;
            if stored.meta.is_some() {
                return Ok(Some(stored));
            }
        }
        Ok(None)
    }

    fn access_fits(&self, name: &Name, generation: Generation, access: Access) -> Result<bool, StoreError> {
        self.store.access_fits(&directory(name, generation), access)
    }

    fn pending_key(&self, name: &Name) -> Result<Option<String>, StoreError> {
        let bytes = self.bytes(&format!("{}/{KEY}", pending(name)))?;
        // A key that was cut is a key that is lost.
        Ok(bytes.and_then(|b| String::from_utf8(b).ok()).filter(|key| crate::domain::cert::public_key(key).is_ok()))
    }

    fn stage_key(&self, name: &Name, key: &str) -> Result<(), StoreError> {
        let at = format!("{}/{KEY}", pending(name));
        let before = self.store.get(&at)?.map(|blob| blob.version);
        self.store.put(&at, key.as_bytes(), before.as_ref(), Access::PRIVATE).map(|_| ())
    }

    fn install(&self, name: &Name, bundle: &Bundle, keep: usize) -> Result<Generation, StoreError> {
        let Bundle { key, chain, meta, access } = bundle;
        let last = self.generations(name)?.last().copied();
        let generation = Generation(last.map_or(1, |g| g.0 + 1));
        let at = directory(name, generation);
        let meta = toml::to_string(meta).map_err(|error| StoreError::Failed(format!("writing {META}: {error}")))?;
        // Key before certificate, and `meta.toml`, which makes the generation whole, last.
        for (file, text) in [(KEY, key), (CERT, &chain.cert), (CHAIN, &chain.chain), (FULLCHAIN, &chain.fullchain), (META, &meta)] {
            self.store.put(&format!("{at}/{file}"), text.as_bytes(), None, *access)?;
        }
        self.point(name, generation)?;
        // The certificate is installed; what could not be pruned is pruned the next time.
        let _ = self.prune(name, generation, keep);
        Ok(generation)
    }

    fn restore(&self, name: &Name, generation: Generation) -> Result<(), StoreError> {
        self.point(name, generation)
    }

    fn set_access(&self, name: &Name, access: Access) -> Result<(), StoreError> {
        for generation in self.generations(name)? {
            self.store.set_access(&directory(name, generation), access)?;
        }
        Ok(())
    }

    fn clear_pending(&self, name: &Name) -> Result<(), StoreError> {
        self.store.delete(&pending(name))
    }

    fn room(&self) -> Result<(), Failure> {
        let path = self.store.path("");
        match fs2::available_space(&path) {
            Ok(free) if free < ROOM => Err(Failure::local("disk-full", format!("{}: only {free} bytes are free", path.display()))
                .with_hint("free some space; no CA is contacted before that")),
            // Where it cannot be asked, writing will tell.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn live_path(&self, name: &Name) -> PathBuf {
        self.store.path(&pointer(name))
    }
}

fn certificate(name: &Name) -> String {
    format!("certs/{name}")
}

fn directory(name: &Name, generation: Generation) -> String {
    format!("certs/{name}/{generation}")
}

fn pending(name: &Name) -> String {
    format!("certs/{name}/pending")
}

fn pointer(name: &Name) -> String {
    format!("live/{name}")
}

fn generation(text: &str) -> Option<Generation> {
    let number: u64 = text.parse().ok()?;
    (number > 0 && number.to_string() == text).then_some(Generation(number))
}

/// The generation that a pointer's bytes name, where they lead into this certificate's own directory.
fn pointed(name: &Name, target: &[u8]) -> Option<Generation> {
    let target = std::str::from_utf8(target).ok()?;
    generation(target.strip_prefix(&certificate(name))?.strip_prefix('/')?)
}

const CERT: &str = "cert.pem";
const CHAIN: &str = "chain.pem";
const FULLCHAIN: &str = "fullchain.pem";
const KEY: &str = "privkey.pem";
const META: &str = "meta.toml";

/// A generation, its state and their temporaries take some 40 KiB; an order wants more than luck.
const ROOM: u64 = 256 << 10;
