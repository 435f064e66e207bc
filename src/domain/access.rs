//! Who may read a certificate's files.

use serde::{Deserialize, Serialize};

/// Owner, group and mode of a generation's files, resolved to numbers.
///
/// The directory's mode follows from the files': whoever may read may also enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// The files' owner; `None` leaves them to whoever runs certctl.
    pub owner: Option<u32>,
    /// The files' group; `None` leaves the runner's.
    pub group: Option<u32>,
    /// The files' permission bits, never more than `0o644`.
    pub mode: u32,
}

impl Access {
    /// Readable by its owner alone.
    pub const PRIVATE: Self = Self { owner: None, group: None, mode: 0o600 };
    /// Readable by everyone: state, which holds no secrets.
    pub const PUBLIC: Self = Self { owner: None, group: None, mode: 0o644 };

    /// The permission bits of a directory that holds such files: each `r` brings its `x`.
    #[must_use]
    pub const fn directory_mode(self) -> u32 {
        0o700 | (self.mode & 0o044) | ((self.mode & 0o044) >> 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_follows_its_files() {
        for (files, directory) in [(0o600, 0o700), (0o640, 0o750), (0o400, 0o700), (0o644, 0o755)] {
            assert_eq!(Access { mode: files, ..Access::PRIVATE }.directory_mode(), directory);
        }
    }
}
