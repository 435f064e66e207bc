//! http-01 by a file below a web server's root.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::problem::Failure;
use crate::io::disk::{self, make_dir, with_path};
use crate::ports::Presented;

use super::check_token;

/// Answers as files; knows which it has written, so that none is left.
#[derive(Debug, Default)]
pub struct Webroots {
    visible: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl Webroots {
    pub(super) fn ready(&self, root: &Path) -> Result<(), Failure> {
        let failed = |error: io::Error| {
            Failure::local("webroot", format!("the webroot: {error}"))
                .with_hint("`webroot` is a directory that the web server shows, and that certctl may write")
        };
        match std::fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(failed(with_path(io::Error::other("it is not a directory"), root))),
            Err(error) => return Err(failed(with_path(error, root))),
        }
        let directory = self.directory(root).map_err(failed)?;
        // The only sure way to know that a file can be written is to write one.
        let probe = directory.join(format!(".certctl-probe-{}", std::process::id()));
        let probed = write(&probe, b"").and_then(|()| std::fs::remove_file(&probe));
        match probed {
            Ok(()) => Ok(()),
            // Another certificate of this run probes the same directory just now.
            Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => Ok(()),
            Err(error) => Err(failed(with_path(error, &directory))),
        }
    }

    pub(super) fn present(&self, root: &Path, token: &str, key_authorization: &str) -> Result<Box<dyn Presented>, Failure> {
        check_token(token)?;
        let failed = |error: io::Error| Failure::local("webroot", format!("writing the challenge's answer: {error}"));
        let path = self.directory(root).map_err(failed)?.join(token);
        self.visible.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone());
        let answer = Answer { path, visible: Arc::clone(&self.visible) };
        // One that a killed run has left: the same token has the same answer, and the CA may be reading it now.
        let there = disk::read(&answer.path, 4096).ok().flatten();
        if there.as_deref() != Some(key_authorization.as_bytes()) {
            let _ = std::fs::remove_file(&answer.path);
            write(&answer.path, key_authorization.as_bytes()).map_err(|e| failed(with_path(e, &answer.path)))?;
        }
        Ok(Box::new(answer))
    }

    pub(super) fn sweep(&self, root: &Path, token: &str) {
        if check_token(token).is_ok() {
            let _ = std::fs::remove_file(root.join(WELL_KNOWN).join(CHALLENGE).join(token));
        }
    }

    pub(super) fn withdraw_all(&self) {
        for path in self.visible.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = std::fs::remove_file(path);
        }
    }

    /// The directory of the answers (RFC 8555 §8.3); made where it is missing.
    ///
    /// Whoever owns the webroot must not lead root elsewhere: a link on the way is followed only
    /// where root or we made it.
    fn directory(&self, root: &Path) -> io::Result<PathBuf> {
        let mut path = root.to_owned();
        for part in [WELL_KNOWN, CHALLENGE] {
            path.push(part);
            if let Ok(metadata) = std::fs::symlink_metadata(&path) {
                let ours = metadata.uid() == 0 || metadata.uid() == nix::unistd::geteuid().as_raw();
                if metadata.is_symlink() && !ours {
                    return Err(with_path(io::Error::other("it is a symbolic link of another user's"), &path));
                }
            } else {
                make_dir(&path, 0o755)?;
            }
        }
        Ok(path)
    }
}

/// One answer; removed when it is dropped.
struct Answer {
    path: PathBuf,
    visible: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl Presented for Answer {
    fn leave(self: Box<Self>) {
        self.visible.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.path);
        // The file stays: `drop`, which would remove it, is not run.
        std::mem::forget(self);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        self.visible.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.path);
    }
}

/// Writes a file that the web server may read; never through a link, never over something.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    // The umask of a run is 077: what a web server must read has to say so.
    file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.write_all(bytes)
}

const WELL_KNOWN: &str = ".well-known";
const CHALLENGE: &str = "acme-challenge";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_lives_as_long_as_it_is_held_and_no_longer() {
        let dir = tempfile::tempdir().expect("a directory");
        let webroots = Webroots::default();
        webroots.ready(dir.path()).expect("writable");
        let answers = dir.path().join(".well-known/acme-challenge");
        let held = webroots.present(dir.path(), "tok-en_1", "tok-en_1.thumb").expect("written");
        assert_eq!(std::fs::read(answers.join("tok-en_1")).expect("visible"), b"tok-en_1.thumb");
        assert_eq!(std::fs::metadata(answers.join("tok-en_1")).expect("there").mode() & 0o777, 0o644);
        drop(held);
        let held = webroots.present(dir.path(), "two", "x").expect("written");
        webroots.withdraw_all();
        drop(held);
        assert_eq!(std::fs::read_dir(&answers).expect("readable").count(), 0);
    }

    #[test]
    fn a_token_is_no_path() {
        let dir = tempfile::tempdir().expect("a directory");
        for token in ["", "..", "../x", "a/b", "a b", "a.b", "a\0", &"a".repeat(129)] {
            assert!(Webroots::default().present(dir.path(), token, "x").is_err(), "{token:?}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 0);
    }

    #[test]
    fn what_is_no_writable_directory_is_told_before_any_order() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("file");
        std::fs::write(&file, "").expect("written");
        for (root, why) in [(file.as_path(), "not a directory"), (&dir.path().join("none"), "no such file")] {
            let failure = Webroots::default().ready(root).expect_err("refused");
            assert!(failure.message.contains(why) && failure.message.contains(&root.display().to_string()), "{failure}");
        }
    }
}
