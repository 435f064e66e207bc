//! A run's own conclusion, "nothing until T", kept so that the next runs need not think.
//!
//! Pure: what the disk looks like now comes in through a probe. The file is line-oriented, because
//! a TOML parser costs 5 µs an entry and a no-op over 10,000 certificates may not. Any doubt means
//! [`Verdict::Look`].

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::domain::hash::Fnv;
use crate::domain::name::Name;
use crate::domain::outcome::Exit;
use crate::domain::time::Time;
use crate::ports::{Probe, Seen};

/// What the conclusion says of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing has changed: end with this code.
    Still(Exit),
    /// Something has, or may have: look for real.
    Look,
}

/// What the conclusion is drawn from.
#[derive(Clone, Debug)]
pub struct Premises<'a> {
    /// The config file that the command line led to.
    pub config: &'a Path,
    /// The state directory.
    pub state_dir: &'a Path,
    /// Everything whose change could change the conclusion: config files, what they name, our directories.
    pub files: Vec<PathBuf>,
    /// The certificates, each in `live/<name>`.
    pub names: Vec<&'a Name>,
    /// Now.
    pub now: Time,
    /// Until when nothing is due.
    pub until: Time,
    /// The code that a run ends with until then.
    pub exit: Exit,
}

/// Draws the conclusion; `None` where it could not be relied on.
///
/// A file that was changed within the last two seconds may change again within the same tick of its
/// file system's clock, unseen: then the next run draws.
#[must_use]
pub fn draw(premises: &Premises<'_>, probe: &dyn Probe) -> Option<String> {
    let Premises { config, state_dir, files, names, now, until, exit } = premises;
    let settled = |seen: &Seen| seen.changed.after(SETTLED) <= *now;
    let mut text = format!(
        "{MAGIC} {}\nconfig {}\nstate {}\ndrawn {}\nuntil {}\ncode {}\nd {:016x} {}\n",
        env!("CARGO_PKG_VERSION"),
        line(config)?,
        line(state_dir)?,
        now.millis(),
        until.millis(),
        exit.code(),
        probe.file(state_dir)?.identity,
        line(state_dir)?,
    );
    for file in files {
        match probe.file(file) {
            Some(seen) if settled(&seen) => writeln!(text, "f {:016x} {}", seen.fingerprint, line(file)?).ok()?,
            Some(_) => return None,
            None => writeln!(text, "f - {}", line(file)?).ok()?,
        }
    }
    for name in names {
        let seen = probe.live(name.as_str()).filter(settled)?;
        let inside = inside(name.as_str(), probe, Some(&settled))?;
        writeln!(text, "g {:016x} {inside:016x} {name}", seen.fingerprint).ok()?;
    }
    let sum = Fnv::default().with(text.as_bytes()).finish();
    writeln!(text, "end {sum:016x}").ok()?;
    Some(text)
}

/// Asks a conclusion whether it still holds.
///
/// `count` is the number of this run: one certificate in [`SAMPLE`] has its files looked at, another
/// one each time, so that a file edited in place is noticed within that many runs.
#[must_use]
pub fn look(text: &str, config: &Path, state_dir: &Path, now: Time, count: u64, probe: &dyn Probe) -> Verdict {
    still(text, config, state_dir, now, count, probe).map_or(Verdict::Look, Verdict::Still)
}

fn still(text: &str, config: &Path, state_dir: &Path, now: Time, count: u64, probe: &dyn Probe) -> Option<Exit> {
    let (body, end) = text.rsplit_once("end ")?;
    let sum = u64::from_str_radix(end.strip_suffix('\n')?, 16).ok()?;
    if sum != Fnv::default().with(body.as_bytes()).finish() {
        return None;
    }
    let mut lines = body.lines();
    let mut field = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
    let version = field(MAGIC)?;
    let same = version == env!("CARGO_PKG_VERSION") && Path::new(field("config")?) == config && Path::new(field("state")?) == state_dir;
    let drawn = Time::from_millis(field("drawn")?.parse().ok()?);
    let until = Time::from_millis(field("until")?.parse().ok()?);
    let code: u8 = field("code")?.parse().ok()?;
    // A clock behind the conclusion cannot vouch for it.
    if !same || now < drawn || now >= until {
        return None;
    }
    let exit = [Exit::Ok, Exit::DeployPending, Exit::Failed, Exit::PersonNeeded].into_iter().find(|e| e.code() == code)?;
    let mut certificates = Vec::new();
    for line in lines {
        let (kind, rest) = line.split_once(' ')?;
        if kind == "g" {
            certificates.push(rest);
            continue;
        }
        let (mark, path) = rest.split_once(' ')?;
        let marked = || u64::from_str_radix(mark, 16).ok();
        let holds = match kind {
            "d" => probe.file(Path::new(path))?.identity == marked()?,
            "f" if mark == "-" => probe.file(Path::new(path)).is_none(),
            "f" => probe.file(Path::new(path))?.fingerprint == marked()?,
            _ => false,
        };
        if !holds {
            return None;
        }
    }
    all_hold(&certificates, count, probe).then_some(exit)
}

/// Whether every certificate looks as it did; many of them are asked for side by side.
fn all_hold(certificates: &[&str], count: u64, probe: &dyn Probe) -> bool {
    let part = |first: usize, lines: &[&str]| {
        lines.iter().zip(first as u64..).all(|(line, place)| holds(line, place % SAMPLE == count % SAMPLE, probe).is_some())
    };
    if certificates.len() < MANY {
        return part(0, certificates);
    }
    let size = certificates.len().div_ceil(THREADS);
    std::thread::scope(|scope| {
        let parts: Vec<_> = certificates.chunks(size).enumerate().map(|(n, lines)| scope.spawn(move || part(n * size, lines))).collect();
        // A part that panicked holds nothing.
        parts.into_iter().all(|part| part.join().unwrap_or(false))
    })
}

/// Whether one certificate looks as it did; its files are looked at where it is its turn.
fn holds(line: &str, sampled: bool, probe: &dyn Probe) -> Option<()> {
    let mut words = line.splitn(3, ' ');
    let mut mark = || u64::from_str_radix(words.next()?, 16).ok();
    let (directory, files) = (mark()?, mark()?);
    let name = words.next()?;
    let same = probe.live(name)?.fingerprint == directory && (!sampled || inside(name, probe, None)? == files);
    same.then_some(())
}

/// The fingerprint of a generation's files together.
fn inside(name: &str, probe: &dyn Probe, accept: Option<&dyn Fn(&Seen) -> bool>) -> Option<u64> {
    let mut sum = Fnv::default();
    for file in FILES {
        let seen = probe.live(&format!("{name}/{file}"));
        if let (Some(seen), Some(accept)) = (&seen, accept)
            && !accept(seen)
        {
            return None;
        }
        sum = sum.with(&seen.map_or(0, |s| s.fingerprint).to_le_bytes());
    }
    Some(sum.finish())
}

/// A path as the rest of a line; `None` for one that a line cannot hold.
fn line(path: &Path) -> Option<&str> {
    path.to_str().filter(|p| !p.contains('\n') && !p.is_empty())
}

/// The files of a generation.
const FILES: [&str; 5] = ["cert.pem", "chain.pem", "fullchain.pem", "meta.toml", "privkey.pem"];

const MAGIC: &str = "certctl-quiet 1";

/// One certificate in this many has its files looked at in each run.
pub const SAMPLE: u64 = 16;

/// From here on threads cost less than they save.
const MANY: usize = 300;
const THREADS: usize = 4;

const SETTLED: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    /// A disk in memory.
    #[derive(Default)]
    struct Disk(Mutex<BTreeMap<PathBuf, Seen>>);

    impl Disk {
        fn set(&self, path: impl Into<PathBuf>, seen: Seen) {
            self.0.lock().expect("whole").insert(path.into(), seen);
        }
    }

    impl Probe for Disk {
        fn file(&self, path: &Path) -> Option<Seen> {
            self.0.lock().expect("whole").get(path).copied()
        }

        fn live(&self, relative: &str) -> Option<Seen> {
            self.file(&live(relative))
        }
    }

    fn live(relative: &str) -> PathBuf {
        Path::new("/s/live").join(relative)
    }

    fn at(seconds: i64) -> Time {
        Time::from_unix(seconds)
    }

    fn seen(content: u64) -> Seen {
        Seen { fingerprint: content, identity: 1, changed: at(100) }
    }

    fn disk() -> Disk {
        let mut files = BTreeMap::new();
        for path in ["/c/certctl.toml", "/c/conf.d", "/s", "/s/state"] {
            files.insert(PathBuf::from(path), seen(7));
        }
        for name in ["a.example", "b.example"] {
            files.insert(live(name), seen(8));
            for file in FILES {
                files.insert(live(name).join(file), seen(9));
            }
        }
        Disk(Mutex::new(files))
    }

    fn drawn(disk: &Disk, now: Time) -> Option<String> {
        let (a, b) = (Name::parse("a.example").expect("valid"), Name::parse("b.example").expect("valid"));
        let premises = Premises {
            config: Path::new("/c/certctl.toml"),
            state_dir: Path::new("/s"),
            files: ["/c/certctl.toml", "/c/conf.d", "/c/absent", "/s/state"].map(PathBuf::from).to_vec(),
            names: vec![&a, &b],
            now,
            until: at(5000),
            exit: Exit::DeployPending,
        };
        draw(&premises, disk)
    }

    fn asked(text: &str, disk: &Disk, now: Time, count: u64) -> Verdict {
        look(text, Path::new("/c/certctl.toml"), Path::new("/s"), now, count, disk)
    }

    const STILL: Verdict = Verdict::Still(Exit::DeployPending);

    #[test]
    fn it_holds_until_its_time_and_not_before_it_was_drawn() {
        let disk = disk();
        let text = drawn(&disk, at(200)).expect("settled");
        for (now, verdict) in [(at(199), Verdict::Look), (at(200), STILL), (at(4999), STILL), (at(5000), Verdict::Look)] {
            assert_eq!(asked(&text, &disk, now, 0), verdict, "{now}");
        }
        assert_eq!(look(&text, Path::new("/other.toml"), Path::new("/s"), at(200), 0, &disk), Verdict::Look);
    }

    #[test]
    fn every_change_is_noticed_by_the_next_run() {
        let fresh = disk();
        let text = drawn(&fresh, at(200)).expect("settled");
        let watched: Vec<PathBuf> = fresh
            .0
            .lock()
            .expect("whole")
            .keys()
            .filter(|p| p.extension().is_none_or(|e| e != "pem") && !p.ends_with("meta.toml") && *p != Path::new("/s"))
            .cloned()
            .collect();
        for path in watched {
            let changed = disk();
            changed.set(path.clone(), seen(77));
            assert_eq!(asked(&text, &changed, at(300), 0), Verdict::Look, "changed {}", path.display());
            changed.0.lock().expect("whole").remove(&path);
            assert_eq!(asked(&text, &changed, at(300), 0), Verdict::Look, "removed {}", path.display());
        }
        let appeared = disk();
        appeared.set("/c/absent", seen(1));
        assert_eq!(asked(&text, &appeared, at(300), 0), Verdict::Look);
    }

    #[test]
    fn a_file_edited_in_place_is_noticed_within_a_sample() {
        let disk = disk();
        let text = drawn(&disk, at(200)).expect("settled");
        disk.set("/s/live/b.example/privkey.pem", seen(77));
        let looks = (0..SAMPLE).filter(|count| asked(&text, &disk, at(300), *count) == Verdict::Look).count();
        assert_eq!(looks, 1);
    }

    #[test]
    fn what_is_younger_than_two_seconds_is_not_trusted() {
        assert_eq!(drawn(&disk(), at(101)), None);
        assert!(drawn(&disk(), at(102)).is_some());
    }

    #[test]
    fn a_torn_or_flipped_file_is_no_conclusion() {
        let disk = disk();
        let text = drawn(&disk, at(200)).expect("settled");
        for cut in 0..text.len() {
            assert_eq!(asked(&text[..cut], &disk, at(300), 0), Verdict::Look, "cut at {cut}");
        }
        for place in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[place] ^= 1;
            let flipped = String::from_utf8(bytes).expect("ASCII");
            assert_eq!(asked(&flipped, &disk, at(300), 0), Verdict::Look, "flipped at {place}");
        }
    }
}
