//! One run at a time: flock on a file that lies beside the state.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::domain::text::escape;
use crate::domain::time::Time;
use crate::ports::Clock;

use super::disk;

/// The run's lock; the kernel releases it however the process ends.
///
/// The file is never unlinked: two runs could then hold two locks of one name. What it says (pid,
/// start) is for people; only the lock itself counts.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// How asking for the lock ended.
#[derive(Debug)]
pub enum Asked {
    /// It is ours; whether another run had it first.
    Ours(Lock, bool),
    /// Another run has it, and says this of itself.
    Held(String),
}

impl Lock {
    /// Takes the lock if nobody has it.
    ///
    /// # Errors
    ///
    /// Where the file cannot be opened.
    pub fn try_now(state_dir: &Path, now: Time) -> io::Result<Asked> {
        let path = path(state_dir);
        let open = || {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
                .open(&path)
        };
        loop {
            let mut file = open().map_err(|e| disk::with_path(e, &path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(Asked::Held(holder(&mut file))),
                Err(TryLockError::Error(error)) => return Err(disk::with_path(error, &path)),
            }
            // Someone may have removed the file between our opening and our locking it.
            let (ours, named) = (file.metadata(), std::fs::metadata(&path));
            if let (Ok(ours), Ok(named)) = (ours, named)
                && (ours.dev(), ours.ino()) == (named.dev(), named.ino())
            {
                // For people only; a full disk must not keep a run from its lock.
                let _ = file.set_len(0).and_then(|()| file.rewind());
                let _ = writeln!(file, "pid {} since {now}", std::process::id());
                return Ok(Asked::Ours(Self { _file: file }, false));
            }
        }
    }

    /// Takes the lock, waiting for another run to end.
    ///
    /// # Errors
    ///
    /// Where the file cannot be opened.
    pub fn wait(state_dir: &Path, clock: &dyn Clock, patience: Duration) -> io::Result<Asked> {
        let until = clock.now().after(patience);
        let mut waited = false;
        loop {
            match Self::try_now(state_dir, clock.now())? {
                Asked::Ours(lock, _) => return Ok(Asked::Ours(lock, waited)),
                Asked::Held(holder) if clock.now() >= until || clock.stopped() => return Ok(Asked::Held(holder)),
                Asked::Held(_) => {}
            }
            waited = true;
            clock.sleep_until(clock.now().after(POLL).min(until));
        }
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.take(200).read_to_string(&mut text));
    match read {
        Ok(_) if !text.trim().is_empty() => escape(&text),
        Ok(_) | Err(_) => "another run".to_owned(),
    }
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("lock")
}

/// flock has no wait with a limit; asking this often costs nothing.
const POLL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::clock::SystemClock;

    #[test]
    fn one_at_a_time_and_free_after() {
        let dir = tempfile::tempdir().expect("a directory");
        let clock = SystemClock::new();
        let Asked::Ours(lock, false) = Lock::wait(dir.path(), &clock, Duration::ZERO).expect("opens") else { panic!("free") };
        let Asked::Held(holder) = Lock::try_now(dir.path(), clock.now()).expect("opens") else { panic!("held") };
        assert!(holder.contains(&std::process::id().to_string()), "{holder}");
        drop(lock);
        assert!(matches!(Lock::try_now(dir.path(), clock.now()).expect("opens"), Asked::Ours(..)));
    }
}
