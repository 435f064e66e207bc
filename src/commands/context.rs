//! What most verbs begin with: the config, the places, the ports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::Global;
use crate::config::{self, Certificate, Config, Issue, Source};
use crate::domain::name::Name;
use crate::domain::time::Time;
use crate::error::{Error, Kind, Result};
use crate::io::acme::{Acme, Office};
use crate::io::clock::SystemClock;
use crate::io::console::Console;
use crate::io::files::{self, Loaded};
use crate::io::hooks::{Hooks, Running};
use crate::io::host::{self, SystemHost};
use crate::io::keys::SystemKeys;
use crate::io::solver::Solvers;
use crate::io::store::FsStore;
use crate::io::vault::StoreVault;
use crate::journal::StoreJournal;
use crate::ports::Ports;
use crate::report::Entry;
use crate::run::{Orders, Row};

/// The config and the places.
pub(super) struct Context {
    pub(super) config: Config,
    pub(super) config_path: PathBuf,
    pub(super) conf_dir: PathBuf,
    pub(super) sources: Vec<Source>,
    pub(super) state_dir: PathBuf,
    pub(super) store: FsStore,
}

impl Context {
    /// Reads the config that the command line leads to.
    pub(super) fn open(global: &Global) -> Result<Self> {
        let config_path = config_path(global);
        let loaded = files::load(&config_path)?;
        Self::with(global, config_path, loaded)
    }

    /// The context of a config that was loaded already.
    pub(super) fn with(global: &Global, config_path: PathBuf, loaded: Loaded) -> Result<Self> {
        let Loaded { sources, conf_dir, mut issues } = loaded;
        let config = match config::parse(&sources, &SystemHost) {
            Ok(config) if issues.is_empty() => config,
            Ok(_) => return Err(refused(&issues)),
            Err(found) => {
                issues.extend(found);
                return Err(refused(&issues));
            }
        };
        let state_dir = host::state_dir(global.state_dir.as_deref(), config.state_dir.as_deref());
        let state_dir = absolute(&state_dir);
        Ok(Self { store: FsStore::new(state_dir.clone()), config, config_path, conf_dir, sources, state_dir })
    }

    /// What a person asked for: the certificates, which of them by name, which of them by force.
    ///
    /// `--force NAME` alone means that one, not everything.
    pub(super) fn selection(&self, names: &[String], force: &[String]) -> Result<Selection<'_>> {
        let (forced, mut asked) = (self.names(force)?, self.names(names)?);
        asked.extend(forced.iter().cloned());
        let only: Vec<String> = names.iter().chain(force).cloned().collect();
        Ok(Selection { certificates: self.select(&only)?, asked, forced })
    }

    /// The certificates of these names; all of them where none is named.
    pub(super) fn select(&self, names: &[String]) -> Result<Vec<&Certificate>> {
        if names.is_empty() {
            return Ok(self.config.certificates.iter().collect());
        }
        let wanted = self.names(names)?;
        Ok(self.config.certificates.iter().filter(|c| wanted.contains(&c.name)).collect())
    }

    /// Names as the command line has them: a certificate's name, else one of its domains.
    pub(super) fn names(&self, names: &[String]) -> Result<BTreeSet<Name>> {
        names.iter().map(|text| self.name(text)).collect()
    }

    fn name(&self, text: &str) -> Result<Name> {
        let certificates = &self.config.certificates;
        if let Some(certificate) = certificates.iter().find(|c| c.name.as_str() == text) {
            return Ok(certificate.name.clone());
        }
        let domain = text.parse().ok();
        let mut by_domain = certificates.iter().filter(|c| domain.as_ref().is_some_and(|d| c.domains.contains(d)));
        match (by_domain.next(), by_domain.next()) {
            (Some(one), None) => Ok(one.name.clone()),
            (Some(one), Some(two)) => Err(Error::new(Kind::Usage, format!("`{text}` is in several certificates"))
                .hint(format!("name one: {}, {} …", one.name, two.name))),
            (None, _) => {
                let known: Vec<&str> = certificates.iter().take(10).map(|c| c.name.as_str()).collect();
                let hint = if known.is_empty() {
                    "the config has no certificates".to_owned()
                } else {
                    format!("the config has {}", known.join(", "))
                };
                Err(Error::new(Kind::Usage, format!("no certificate is called `{text}`")).hint(hint))
            }
        }
    }

    /// Runs something with the ports of the real world.
    pub(super) fn with_ports<T>(
        &self,
        clock: &SystemClock,
        console: &Console,
        certificates: &[&Certificate],
        act: impl FnOnce(&World<'_>) -> T,
    ) -> T {
        let names: Vec<&Name> = certificates.iter().map(|c| &c.name).collect();
        let vault = StoreVault::new(&self.store);
        let journal = StoreJournal::open(&self.store, clock, &names);
        let running = Arc::new(Running::default());
        let solver = Arc::new(Solvers::new(&self.config.listen_http));
        let office = Office {
            store: &self.store,
            clock,
            progress: console,
            email: self.config.email.as_deref(),
            proxy: &self.config.proxy,
            patience: self.config.deadline / 3,
        };
        let authorities = Acme::new(self.config.cas.values(), office);
        let deployer = Hooks { clock, vault: &vault, running: &running };
        let ports = Ports {
            authorities: &authorities,
            clock,
            deployer: &deployer,
            journal: &journal,
            keys: &SystemKeys,
            progress: console,
            solver: &*solver,
            vault: &vault,
        };
        act(&World { ports, journal: &journal, running: Arc::clone(&running), solver: Arc::clone(&solver) })
    }

    /// Orders for certificates that are only looked at.
    pub(super) fn orders(&self, now: Time) -> Orders {
        Orders {
            started: now,
            deadline: now.after(self.config.deadline),
            share: self.config.deadline / 3,
            forced: BTreeSet::new(),
            asked: BTreeSet::new(),
            parallel: self.config.parallel,
        }
    }

    /// The report of rows: for each, what its certificate is.
    pub(super) fn entries(&self, certificates: &[&Certificate], rows: &[Row], world: &World<'_>) -> Vec<Entry> {
        let now = world.ports.clock.now();
        let by_name: BTreeMap<&Name, &Certificate> = certificates.iter().map(|c| (&c.name, *c)).collect();
        let entry = |row: &Row| {
            let certificate = by_name.get(&row.name)?;
            let facts = world.ports.journal.facts(&row.name);
            let path = world.ports.vault.live_path(&row.name).display().to_string();
            Some(Entry::new(certificate, &row.holding, &row.decision, &facts, path, now))
        };
        rows.iter().filter_map(entry).collect()
    }
}

/// What a person asked for.
pub(super) struct Selection<'a> {
    pub(super) certificates: Vec<&'a Certificate>,
    pub(super) asked: BTreeSet<Name>,
    pub(super) forced: BTreeSet<Name>,
}

/// The ports, and what only a verb needs of them.
pub(super) struct World<'a> {
    pub(super) ports: Ports<'a>,
    pub(super) journal: &'a StoreJournal<'a>,
    /// For the end of a run that does not end by itself.
    pub(super) running: Arc<Running>,
    pub(super) solver: Arc<Solvers>,
}

/// The config file that the command line leads to, absolute.
pub(super) fn config_path(global: &Global) -> PathBuf {
    absolute(&global.config.clone().unwrap_or_else(host::default_config))
}

/// An absolute form without asking the disk; the path itself where there is none.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Everything that is wrong with a config, as one error.
pub(super) fn refused(issues: &[Issue]) -> Error {
    let mut lines = Vec::new();
    for issue in issues {
        lines.push(issue.to_string());
        lines.extend(issue.hint.iter().map(|hint| format!("  hint: {hint}")));
    }
    let count = if issues.len() == 1 { "one error".to_owned() } else { format!("{} errors", issues.len()) };
    Error::new(Kind::Config, format!("the config has {count}\n{}", lines.join("\n")))
}
