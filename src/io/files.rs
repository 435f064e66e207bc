//! The config files, and the files that say whether anything has changed.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::config::{Issue, Origin, Source};
use crate::domain::access::Access;
use crate::domain::hash::Fnv;
use crate::domain::time::Time;
use crate::error::{Error, Kind};
use crate::ports::{Probe, Seen};

use super::{disk, host};

/// What was read of the config.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The files, the main one first.
    pub sources: Vec<Source>,
    /// The directory that the others were found in, whether it is there or not.
    pub conf_dir: PathBuf,
    /// The files of it that cannot be read.
    pub issues: Vec<Issue>,
}

/// Reads the main config file and, in the order of their names, the `*.toml` of its conf directory.
///
/// # Errors
///
/// Where one cannot be read, or where others could replace one.
pub fn load(main: &Path) -> Result<Loaded, Error> {
    let unreadable = |error: io::Error| Error::new(Kind::Config, format!("reading the config: {error}"));
    let first = read(main).map_err(unreadable)?.ok_or_else(|| {
        Error::new(Kind::Config, format!("there is no config at {}", main.display()))
            .hint("write one: `man certctl.toml` begins with the three lines that are enough; or name another with --config")
    })?;
    let named = conf_dir_key(&first.text);
    let base = main.parent().unwrap_or_else(|| Path::new("."));
    let conf_dir = base.join(named.as_deref().unwrap_or("conf.d"));
    let mut paths = Vec::new();
    match std::fs::read_dir(&conf_dir) {
        Ok(entries) => {
            for entry in entries {
                let path = entry.map_err(|e| unreadable(disk::with_path(e, &conf_dir)))?.path();
                let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
                if !hidden && path.extension().is_some_and(|e| e == "toml") {
                    paths.push(path);
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() && !conf_dir.is_symlink() => {}
        Err(error) => {
            return Err(unreadable(disk::with_path(error, &conf_dir)).hint("make it a directory that can be read, or change `conf_dir`"));
        }
    }
    paths.sort();
    let (mut sources, mut issues) = (vec![first], Vec::new());
    for path in paths {
        let gone = || io::Error::other(format!("{}: it leads nowhere", path.display()));
        match read(&path).and_then(|source| source.ok_or_else(gone)) {
            Ok(source) => sources.push(source),
            // Told with everything else that is wrong: a file that cannot be read hides no other error.
            Err(error) => {
                let text = error.to_string();
                let text = text.strip_prefix(&path.display().to_string()).unwrap_or(&text);
                let message = text.trim_start_matches([':', ' ']).to_owned();
                issues.push(Issue { origin: Origin { file: path, line: 0 }, key: None, message, hint: None });
            }
        }
    }
    Ok(Loaded { sources, conf_dir, issues })
}

fn read(path: &Path) -> io::Result<Option<Source>> {
    let Some(bytes) = disk::read(path, CONFIG_LIMIT)? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        io::Error::other(format!("{}:{line}: it is not UTF-8 text", path.display()))
    })?;
    let metadata = std::fs::metadata(path).map_err(|e| disk::with_path(e, path))?;
    // Its deploy commands run as we do: who may write it may become us.
    if metadata.mode() & 0o002 != 0 {
        return Err(disk::with_path(io::Error::other("everyone on this host may write this file (chmod o-w it)"), path));
    }
    if host::is_root() && metadata.uid() != 0 {
        let why = format!("user {} owns this file, and root would run what it says (chown it to root)", metadata.uid());
        return Err(disk::with_path(io::Error::other(why), path));
    }
    let shared = metadata.mode() & 0o077 != 0;
    Ok(Some(Source { path: path.to_owned(), text, shared }))
}

/// The `conf_dir` of a config, before it is parsed for good; what is wrong with it is told then.
fn conf_dir_key(text: &str) -> Option<String> {
    if !text.contains("conf_dir") {
        return None;
    }
    let table: toml::Table = text.parse().ok()?;
    table.get("conf_dir")?.as_str().filter(|d| !d.is_empty()).map(str::to_owned)
}

/// The head of a file as text: as much as a scan of its root keys needs. `None` where that is unsure.
#[must_use]
pub fn head(path: &Path) -> Option<String> {
    let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let mut bytes = Vec::new();
    file.take(HEAD).read_to_end(&mut bytes).ok()?;
    if bytes.len() as u64 == HEAD {
        // Cut at the last whole line; a table must begin before that, or the root keys may go on.
        let cut = bytes.iter().rposition(|b| *b == b'\n')?;
        bytes.truncate(cut + 1);
        let text = String::from_utf8(bytes).ok()?;
        return text.lines().any(|l| l.trim_start().starts_with('[')).then_some(text);
    }
    String::from_utf8(bytes).ok()
}

/// The disk, as a conclusion asks it.
#[derive(Debug)]
pub struct Disk {
    /// `live/`, opened once: ten thousand paths are then walked from there and not from the root.
    live: Option<std::fs::File>,
}

impl Disk {
    /// The disk with this state directory.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { live: std::fs::File::open(state_dir.join("live")).ok() }
    }
}

impl Probe for Disk {
    fn file(&self, path: &Path) -> Option<Seen> {
        nix::sys::stat::stat(path).ok().map(|stat| seen(&stat))
    }

    fn live(&self, relative: &str) -> Option<Seen> {
        let flags = nix::fcntl::AtFlags::empty();
        nix::sys::stat::fstatat(self.live.as_ref()?, relative, flags).ok().map(|stat| seen(&stat))
    }
}

fn seen(stat: &nix::sys::stat::FileStat) -> Seen {
    let identity =
        [stat.st_dev.cast_signed(), stat.st_ino.cast_signed(), i64::from(stat.st_mode), i64::from(stat.st_uid), i64::from(stat.st_gid)];
    let times = [stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec];
    let identity = identity.into_iter().fold(Fnv::default(), Fnv::with_number);
    let changed = Time::from_unix(stat.st_mtime.max(stat.st_ctime).saturating_add(1));
    Seen { fingerprint: times.into_iter().fold(identity, Fnv::with_number).finish(), identity: identity.finish(), changed }
}

/// The conclusion of an earlier run.
#[must_use]
pub fn read_quiet(state_dir: &Path) -> Option<String> {
    let bytes = disk::read(&quiet(state_dir), CONFIG_LIMIT).ok().flatten()?;
    String::from_utf8(bytes).ok()
}

/// Keeps a conclusion; one that cannot be kept costs the next run some milliseconds.
pub fn write_quiet(state_dir: &Path, text: &str) {
    let _ = disk::replace(&quiet(state_dir), text.as_bytes(), Access::PUBLIC);
}

/// Forgets the conclusion, before anything is changed.
pub fn remove_quiet(state_dir: &Path) {
    let _ = std::fs::remove_file(quiet(state_dir));
}

/// Counts this run and leaves its time as the file's own; returns its number.
///
/// Not synced and never an error: it is for people and for the sampling of `quiet`.
#[must_use]
pub fn count_run(state_dir: &Path) -> u64 {
    // A FIFO in its place must not hang the run, a link not lead it elsewhere.
    let flags = (nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK).bits();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
    let opened = options.open(state_dir.join("last-run")).ok();
    let Some(mut file) = opened.filter(|file| file.metadata().is_ok_and(|m| m.is_file())) else { return u64::from(std::process::id()) };
    let mut text = String::new();
    let count = match (&mut file).take(32).read_to_string(&mut text) {
        Ok(_) => text.trim().parse::<u64>().unwrap_or(0).wrapping_add(1),
        Err(_) => 0,
    };
    // Of one width, so that one write at the start replaces it whole.
    let _ = file.rewind().and_then(|()| file.write_all(format!("{count:020}\n").as_bytes()));
    count
}

fn quiet(state_dir: &Path) -> PathBuf {
    state_dir.join("quiet")
}

/// 10,000 certificates take some 2 MiB.
const CONFIG_LIMIT: u64 = 64 << 20;
const HEAD: u64 = 64 << 10;
