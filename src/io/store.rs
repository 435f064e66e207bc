//! The file system as a store.

use std::io;
use std::path::{Path, PathBuf};

use crate::domain::access::Access;
use crate::domain::hash::{hex, sha256};
use crate::ports::{Blob, Store, StoreError, Version};

use super::disk;

/// A directory as a store: a key is a path below it.
///
/// `put` compares and then renames, two calls: it is atomic against other runs only under the run's
/// lock, which every writer holds.
#[derive(Clone, Debug)]
pub struct FsStore {
    root: PathBuf,
}

impl FsStore {
    /// The store in this directory; nothing is made until something is put.
    #[must_use]
    pub const fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Makes the directories that every store has, with their modes.
    ///
    /// # Errors
    ///
    /// Where they cannot be made, or where others could replace what is in them.
    pub fn prepare(&self) -> io::Result<()> {
        disk::check_parents(&self.root)?;
        disk::make_dir(&self.root, 0o755)?;
        disk::check_own(&self.root)?;
        for (directory, mode) in [("state", 0o755), ("accounts", 0o700), ("certs", 0o711), ("live", 0o711)] {
            disk::make_dir(&self.root.join(directory), mode)?;
            disk::check_own(&self.root.join(directory))?;
        }
        Ok(())
    }

    /// Removes temporary files that killed runs left behind. Only for the lock's holder.
    pub fn sweep(&self) {
        let mut directories = vec![self.root.clone()];
        for below in ["state", "live", "accounts"] {
            directories.push(self.root.join(below));
        }
        directories.extend(subdirectories(&self.root.join("accounts")));
        for directory in directories {
            sweep_directory(&directory);
        }
    }

    /// Removes temporary files below one certificate's directory.
    pub fn sweep_certificate(&self, name: &str) {
        let certificate = self.root.join("certs").join(name);
        for directory in subdirectories(&certificate) {
            sweep_directory(&directory);
        }
    }

    fn full(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }
}

impl Store for FsStore {
    fn get(&self, key: &str) -> Result<Option<Blob>, StoreError> {
        let path = self.full(key);
        let bytes = if is_pointer(key) { read_link(&path) } else { disk::read(&path, LIMIT) };
        let bytes = bytes.map_err(failed)?;
        Ok(bytes.map(|bytes| Blob { version: version(&bytes), bytes }))
    }

    fn put(&self, key: &str, bytes: &[u8], expected: Option<&Version>, access: Access) -> Result<Version, StoreError> {
        let there = self.get(key)?.map(|blob| blob.version);
        if there.as_ref() != expected {
            return Err(StoreError::Changed(self.full(key).display().to_string()));
        }
        let path = self.full(key);
        let written = if is_pointer(key) {
            let target = String::from_utf8_lossy(bytes);
            disk::replace_link(&path, &Path::new("..").join(target.as_ref()))
        } else {
            let parent = path.parent().unwrap_or(&self.root);
            make_parents(&self.root, parent, access).and_then(|()| disk::replace(&path, bytes, access))
        };
        written.map_err(failed)?;
        Ok(version(bytes))
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let path = self.full(prefix);
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(disk::with_path(error, &path))),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| failed(disk::with_path(e, &path)))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !disk::is_temporary(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        let path = self.full(key);
        let removed = match std::fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(&path),
            Ok(_) => std::fs::remove_file(&path),
            Err(error) => Err(error),
        };
        match removed {
            Ok(()) => disk::sync_parent(&path).map_err(failed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(disk::with_path(error, &path))),
        }
    }

    fn access_fits(&self, key: &str, access: Access) -> Result<bool, StoreError> {
        let path = self.full(key);
        if !disk::fits(&path, access, access.directory_mode()).map_err(failed)? {
            return Ok(false);
        }
        for name in self.list(key)? {
            if !disk::fits(&path.join(name), access, access.mode).map_err(failed)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn set_access(&self, key: &str, access: Access) -> Result<(), StoreError> {
        let path = self.full(key);
        for name in self.list(key)? {
            disk::grant(&path.join(name), access, access.mode).map_err(failed)?;
        }
        // Last: nobody enters who may not read everything there.
        disk::grant(&path, access, access.directory_mode()).map_err(failed)
    }

    fn path(&self, key: &str) -> PathBuf {
        self.full(key)
    }
}

/// Makes the directories between the store's root and a file; the innermost gets the file's access.
fn make_parents(root: &Path, parent: &Path, access: Access) -> io::Result<()> {
    if parent.is_dir() {
        return Ok(());
    }
    let private = access.mode & 0o004 == 0;
    if let Some(above) = parent.parent().filter(|above| above.starts_with(root)) {
        // `certs/<name>` may be passed through on the way to a generation that may be read.
        disk::make_dir(above, 0o711)?;
    }
    disk::make_dir(parent, if private { 0o700 } else { 0o755 })?;
    if private { disk::grant(parent, access, access.directory_mode()) } else { Ok(()) }
}

fn is_pointer(key: &str) -> bool {
    key.starts_with("live/")
}

/// A pointer's bytes: the key that its link names, relative to the store.
fn read_link(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read_link(path) {
        Ok(target) => {
            let target = target.to_string_lossy().into_owned();
            Ok(Some(target.strip_prefix("../").unwrap_or(&target).as_bytes().to_vec()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // EINVAL: something that is not a link.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            Err(disk::with_path(io::Error::other("it is not a symbolic link of certctl's"), path))
        }
        Err(error) => Err(disk::with_path(error, path)),
    }
}

fn subdirectories(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|e| e.path()).filter(|p| p.is_dir() && !p.is_symlink()).collect()
}

fn sweep_directory(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if disk::is_temporary(&entry.file_name().to_string_lossy()) {
            // What cannot be removed is only untidy.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn version(bytes: &[u8]) -> Version {
    Version(hex(&sha256(bytes)[..16]))
}

fn failed(error: io::Error) -> StoreError {
    StoreError::Failed(error.to_string())
}

/// Nothing that certctl keeps is as large.
const LIMIT: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, FsStore) {
        let dir = tempfile::tempdir().expect("a directory");
        let store = FsStore::new(dir.path().join("store"));
        store.prepare().expect("made");
        (dir, store)
    }

    #[test]
    fn put_needs_the_version_that_was_read() {
        let (_dir, store) = store();
        let first = store.put("state/a.toml", b"1", None, Access::PUBLIC).expect("new");
        assert!(matches!(store.put("state/a.toml", b"2", None, Access::PUBLIC), Err(StoreError::Changed(_))));
        store.put("state/a.toml", b"2", Some(&first), Access::PUBLIC).expect("unchanged");
        assert!(matches!(store.put("state/a.toml", b"3", Some(&first), Access::PUBLIC), Err(StoreError::Changed(_))));
        assert_eq!(store.get("state/a.toml").expect("readable").map(|b| b.bytes).as_deref(), Some(&b"2"[..]));
    }

    #[test]
    fn pointers_are_links_that_servers_can_follow() {
        let (dir, store) = store();
        store.put("certs/a/1/cert.pem", b"x", None, Access::PRIVATE).expect("put");
        store.put("live/a", b"certs/a/1", None, Access::PUBLIC).expect("linked");
        let file = dir.path().join("store/live/a/cert.pem");
        assert_eq!(std::fs::read(file).expect("followed"), b"x");
        assert_eq!(store.get("live/a").expect("readable").map(|b| b.bytes).as_deref(), Some(&b"certs/a/1"[..]));
    }

    #[test]
    fn directories_are_as_narrow_as_what_they_hold() {
        let (dir, store) = store();
        let access = Access { mode: 0o640, group: Some(nix::unistd::getegid().as_raw()), owner: None };
        store.put("certs/a/1/privkey.pem", b"x", None, access).expect("put");
        store.put("certs/a/pending/privkey.pem", b"x", None, Access::PRIVATE).expect("put");
        for (path, mode) in
            [("", 0o755), ("certs", 0o711), ("certs/a", 0o711), ("certs/a/1", 0o750), ("certs/a/pending", 0o700), ("accounts", 0o700)]
        {
            let path = dir.path().join("store").join(path);
            assert!(disk::fits(&path, Access::PRIVATE, mode).expect("there"), "{}", path.display());
        }
        assert!(store.access_fits("certs/a/1", access).expect("there"));
        assert!(!store.access_fits("certs/a/1", Access::PRIVATE).expect("there"));
        store.set_access("certs/a/1", Access::PRIVATE).expect("set");
        assert!(store.access_fits("certs/a/1", Access::PRIVATE).expect("there"));
    }
}
