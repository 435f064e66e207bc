//! Files, made durable, with the path in every error.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::access::Access;

/// Replaces a file at once and durably: a reader, and a power cut, see the old bytes or the new.
///
/// Written to a temporary file that has its owner and mode before it has its name, then synced, then
/// renamed, then the directory is synced. Without the last step the content is safe and the name may
/// be lost; on a file system that lies about `fsync` nothing is.
///
/// # Errors
///
/// With the path in front.
pub fn replace(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let temporary = temporary(path);
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
            .open(&temporary)?;
        grant_file(&file, access, access.mode)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        with_path(error, path)
    })?;
    sync_parent(path)
}

/// Points a symbolic link at a target by one atomic switch, durably.
///
/// # Errors
///
/// With the path in front.
pub fn replace_link(path: &Path, target: &Path) -> io::Result<()> {
    let temporary = temporary(path);
    let switch = || {
        std::os::unix::fs::symlink(target, &temporary)?;
        std::fs::rename(&temporary, path)
    };
    switch().map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        with_path(error, path)
    })?;
    sync_parent(path)
}

/// Makes a directory and those above it; one that is there keeps its mode.
///
/// # Errors
///
/// With the path in front.
pub fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        make_dir(parent, 0o755)?;
    }
    let mut builder = DirBuilder::new();
    match builder.mode(mode).create(path) {
        Ok(()) => {
            // The umask may have taken bits that the mode wants.
            std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(|e| with_path(e, path))?;
            sync_parent(path)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(with_path(error, path)),
    }
}

/// Reads a regular file of at most `limit` bytes; `Ok(None)` where there surely is none.
///
/// Anything else in its place is an error: a FIFO would hang the run, a directory is a mistake.
///
/// # Errors
///
/// With the path in front.
pub fn read(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(with_path(error, path)),
    };
    let metadata = file.metadata().map_err(|e| with_path(e, path))?;
    if !metadata.is_file() {
        return Err(with_path(io::Error::other("it is not a regular file"), path));
    }
    if metadata.len() > limit {
        return Err(with_path(io::Error::other(format!("it is larger than {limit} bytes")), path));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    file.take(limit).read_to_end(&mut bytes).map_err(|e| with_path(e, path))?;
    Ok(Some(bytes))
}

/// Whether a file or directory has this owner, group and mode; what the access leaves open always fits.
///
/// # Errors
///
/// With the path in front.
pub fn fits(path: &Path, access: Access, mode: u32) -> io::Result<bool> {
    let metadata = std::fs::metadata(path).map_err(|e| with_path(e, path))?;
    let owner = wanted_owner(access).is_none_or(|owner| owner == metadata.uid());
    let group = wanted_group(access).is_none_or(|group| group == metadata.gid());
    Ok(owner && group && metadata.mode() & 0o7777 == mode)
}

/// Gives a file or directory this owner, group and mode, never passing through a wider one.
///
/// # Errors
///
/// With the path in front.
pub fn grant(path: &Path, access: Access, mode: u32) -> io::Result<()> {
    let flags = (nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|e| with_path(e, path))?;
    grant_file(&file, access, mode).map_err(|e| with_path(e, path))
}

/// Where the config names no owner, root takes files back that had another; others could not.
fn wanted_owner(access: Access) -> Option<u32> {
    access.owner.or_else(|| nix::unistd::geteuid().is_root().then_some(0))
}

/// The same for the group, where the mode lets it read.
fn wanted_group(access: Access) -> Option<u32> {
    let reads = access.mode & 0o040 != 0 && access.mode & 0o004 == 0;
    access.group.or_else(|| (reads && nix::unistd::geteuid().is_root()).then_some(0))
}

fn grant_file(file: &File, access: Access, mode: u32) -> io::Result<()> {
    let now = file.metadata()?;
    // Narrow first: between a change of owner and a change of mode nobody may read who may not in the end.
    if now.mode() & 0o7777 & !mode != 0 {
        file.set_permissions(Permissions::from_mode(now.mode() & mode))?;
    }
    let owner = wanted_owner(access).filter(|owner| *owner != now.uid());
    let group = wanted_group(access).filter(|group| *group != now.gid());
    if owner.is_some() || group.is_some() {
        std::os::unix::fs::fchown(file, owner, group).map_err(|error| {
            let whom = [owner.map(|o| format!("user {o}")), group.map(|g| format!("group {g}"))];
            io::Error::new(error.kind(), format!("giving it to {}: {error}", whom.into_iter().flatten().collect::<Vec<_>>().join(" and ")))
        })?;
    }
    file.set_permissions(Permissions::from_mode(mode))
}

/// Makes a new name in a directory survive a power cut.
///
/// # Errors
///
/// With the path in front.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(|e| with_path(e, parent))
}

/// Whether a file's name is one that [`replace`] leaves behind when it is killed.
#[must_use]
pub fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(TEMPORARY)
}

/// Refuses a directory whose files others could replace: one of its parents may be written by them.
///
/// # Errors
///
/// Which directory, and who may write it.
pub fn check_parents(path: &Path) -> io::Result<()> {
    let real = match std::fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => return check_parents(parent),
            _ => return Ok(()),
        },
        Err(error) => return Err(with_path(error, path)),
    };
    let us = nix::unistd::geteuid().as_raw();
    for directory in real.ancestors() {
        let metadata = std::fs::metadata(directory).map_err(|e| with_path(e, directory))?;
        let mode = metadata.mode();
        let sticky = mode & 0o1000 != 0;
        if mode & 0o002 != 0 && !sticky {
            return Err(with_path(io::Error::other("everyone may write this directory"), directory));
        }
        if mode & 0o020 != 0 && !sticky && metadata.gid() != 0 && metadata.gid() != nix::unistd::getegid().as_raw() {
            return Err(with_path(io::Error::other(format!("group {} may write this directory", metadata.gid())), directory));
        }
        if metadata.uid() != 0 && metadata.uid() != us {
            return Err(with_path(io::Error::other(format!("user {} owns this directory", metadata.uid())), directory));
        }
    }
    Ok(())
}

/// Refuses a directory of ours that others own or may write, sticky or not.
///
/// # Errors
///
/// Which directory, and why.
pub fn check_own(path: &Path) -> io::Result<()> {
    let metadata = std::fs::symlink_metadata(path).map_err(|e| with_path(e, path))?;
    let why = match metadata.uid() {
        _ if metadata.is_symlink() => return check_own(&std::fs::canonicalize(path).map_err(|e| with_path(e, path))?),
        _ if !metadata.is_dir() => "it is not a directory".to_owned(),
        uid if uid != 0 && uid != nix::unistd::geteuid().as_raw() => format!("user {uid} owns this directory"),
        _ if metadata.mode() & 0o022 != 0 => "others may write this directory (chmod go-w it)".to_owned(),
        _ => return Ok(()),
    };
    Err(with_path(io::Error::other(why), path))
}

/// The same error with the path in front.
#[must_use]
pub fn with_path(error: io::Error, path: &Path) -> io::Error {
    let text = error.to_string();
    // "Permission denied (os error 13)": the number helps nobody.
    let text = text.split(" (os error").next().unwrap_or(&text).to_owned();
    io::Error::new(error.kind(), format!("{}: {}", path.display(), lower_first(&text)))
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

fn temporary(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name}.{}-{count}{TEMPORARY}", std::process::id()))
}

const TEMPORARY: &str = ".certctl-tmp";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_never_has_a_wider_mode_and_leaves_no_temporary() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key.pem");
        replace(&path, b"one", Access::PRIVATE).expect("written");
        replace(&path, b"two", Access { mode: 0o640, ..Access::PRIVATE }).expect("written");
        assert_eq!(read(&path, 10).expect("readable").as_deref(), Some(&b"two"[..]));
        assert!(fits(&path, Access::PRIVATE, 0o640).expect("there"));
        assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 1);
    }

    #[test]
    fn what_is_no_small_regular_file_is_an_error_with_its_path() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(read(&dir.path().join("none"), 10).expect("absence is no error"), None);
        let error = read(dir.path(), 10).expect_err("a directory");
        assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("made");
        assert!(read(&fifo, 10).is_err(), "must not hang");
        let large = dir.path().join("large");
        std::fs::write(&large, [0; 11]).expect("written");
        assert!(read(&large, 10).is_err());
    }

    #[test]
    fn parents_that_others_may_write_are_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = dir.path().join("open");
        std::fs::create_dir(&open).expect("made");
        assert!(check_parents(&open.join("state/not/there")).is_ok());
        std::fs::set_permissions(&open, Permissions::from_mode(0o777)).expect("set");
        let error = check_parents(&open.join("state/not/there")).expect_err("refused");
        assert!(error.to_string().contains("everyone may write"), "{error}");
    }
}
