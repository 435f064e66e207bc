//! What this host is: its users, its environment, its places.

use std::path::{Path, PathBuf};

use crate::config::{self, Secret};

use super::disk;

/// The host's users and groups, by whatever its name service knows.
pub struct SystemHost;

impl config::Host for SystemHost {
    fn user(&self, name: &str) -> Option<u32> {
        nix::unistd::User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
    }

    fn group(&self, name: &str) -> Option<u32> {
        nix::unistd::Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
    }
}

/// Whether certctl runs as root.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The config file that is read when the command line names none.
///
/// Root's places are fixed: what a cron job's environment says of home directories is not asked.
#[must_use]
pub fn default_config() -> PathBuf {
    if is_root() {
        return PathBuf::from("/etc/certctl/certctl.toml");
    }
    xdg("XDG_CONFIG_HOME", ".config").join("certctl/certctl.toml")
}

/// The state directory: the command line's, the config's, systemd's, else the default.
#[must_use]
pub fn state_dir(argument: Option<&Path>, configured: Option<&Path>) -> PathBuf {
    if let Some(given) = argument.or(configured) {
        return given.to_owned();
    }
    // A unit may name several directories, separated by colons; ours is the first.
    if let Some(list) = std::env::var_os("STATE_DIRECTORY").and_then(|v| v.into_string().ok())
        && let Some(first) = list.split(':').next().filter(|d| d.starts_with('/'))
    {
        return PathBuf::from(first);
    }
    if is_root() { PathBuf::from("/var/lib/certctl") } else { xdg("XDG_STATE_HOME", ".local/state").join("certctl") }
}

/// Whether a file can be run.
#[must_use]
pub fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Reads a secret from where the config says it lies.
///
/// # Errors
///
/// A sentence fragment that names the place, never the secret.
pub fn secret(secret: &Secret) -> Result<String, String> {
    let text = match secret {
        Secret::Literal(text) => text.clone(),
        Secret::Env(name) => std::env::var(name).map_err(|_| format!("the environment variable {name} is not set"))?,
        Secret::File(path) => file(path)?,
        Secret::Credential(name) => {
            let directory = std::env::var_os("CREDENTIALS_DIRECTORY")
                .ok_or_else(|| format!("the credential {name} is not there: systemd set no CREDENTIALS_DIRECTORY"))?;
            file(&PathBuf::from(directory).join(name))?
        }
    };
    match text.trim() {
        "" => Err(format!("{secret:?} is empty")),
        text => Ok(text.to_owned()),
    }
}

fn file(path: &Path) -> Result<String, String> {
    let bytes = disk::read(path, 64 << 10).map_err(|e| e.to_string())?;
    let bytes = bytes.ok_or_else(|| format!("{}: no such file", path.display()))?;
    if let Ok(metadata) = std::fs::metadata(path) {
        use std::os::unix::fs::MetadataExt as _;
        if metadata.mode() & 0o007 != 0 {
            return Err(format!("{}: everyone on this host may read this secret (chmod 0600 it)", path.display()));
        }
    }
    String::from_utf8(bytes).map_err(|_| format!("{}: it is not text", path.display()))
}

/// The home directory: never a relative one, which would be whatever directory certctl is started in.
fn home() -> PathBuf {
    let set = std::env::var_os("HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let account = || nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().map(|user| user.dir);
    set.or_else(account).unwrap_or_else(|| PathBuf::from("/"))
}

fn xdg(variable: &str, below_home: &str) -> PathBuf {
    let set = std::env::var_os(variable).map(PathBuf::from).filter(|p| p.is_absolute());
    set.unwrap_or_else(|| home().join(below_home))
}

/// Ends the process at once.
pub fn exit(code: u8) -> ! {
    std::process::exit(i32::from(code))
}

/// Whether a person watches standard error, on a terminal that can move its cursor.
#[must_use]
pub fn is_terminal() -> bool {
    use std::io::IsTerminal as _;
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}
