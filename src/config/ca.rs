//! CAs: presets, and what a `[ca.…]` table may say.

use std::fmt;
use std::path::PathBuf;

use crate::domain::name::Directory;

/// One CA, resolved.
#[derive(Clone, Debug)]
pub struct Ca {
    /// What the config calls it.
    pub label: String,
    /// Where it is described, else where it is named.
    pub origin: super::Origin,
    /// Its directory.
    pub directory: Directory,
    /// PEM roots that replace the platform's for this CA.
    pub roots: Option<PathBuf>,
    /// The external account binding (RFC 8555 §7.3.4).
    pub eab: Option<Eab>,
    /// Whether its terms are accepted; naming a CA accepts them.
    pub accept_terms: bool,
    /// Hosts beside the directory's own that its URLs may name.
    pub hosts: Vec<String>,
    /// Where its validators connect for http-01; 80 everywhere but in tests.
    pub http_port: u16,
}

/// An external account binding: who we are to a CA that knows us already.
#[derive(Clone, Debug)]
pub struct Eab {
    /// The key identifier.
    pub kid: String,
    /// The MAC key, base64url.
    pub hmac: Secret,
}

/// A secret, or where it lies. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// A systemd credential.
    Credential(String),
    /// An environment variable.
    Env(String),
    /// A file.
    File(PathBuf),
    /// In the config itself.
    Literal(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(name) => write!(f, "credential {name}"),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Literal(_) => f.write_str("a literal secret"),
        }
    }
}

/// Labels that need no `[ca.…]` table. The URLs are the CAs' own documentation's.
pub const PRESETS: [(&str, &str); 7] = [
    ("letsencrypt", "https://acme-v02.api.letsencrypt.org/directory"),
    ("letsencrypt-staging", "https://acme-staging-v02.api.letsencrypt.org/directory"),
    ("zerossl", "https://acme.zerossl.com/v2/DV90"),
    ("google", "https://dv.acme-v02.api.pki.goog/directory"),
    ("actalis", "https://acme-api.actalis.com/acme/directory"),
    // SSL.com has a directory per kind of key; this one is for our default, ECDSA.
    ("sslcom", "https://acme.ssl.com/sslcom-dv-ecc"),
    ("sslcom-rsa", "https://acme.ssl.com/sslcom-dv-rsa"),
];

/// The directory of a preset.
#[must_use]
pub(super) fn preset(label: &str) -> Option<&'static str> {
    PRESETS.iter().find(|(l, _)| *l == label).map(|(_, url)| *url)
}

/// Why a directory must not be used although its URL is well-formed.
#[must_use]
pub(super) fn dead(directory: &Directory) -> Option<&'static str> {
    (directory.host() == "api.buypass.com")
        .then_some("Buypass stopped issuing on 2025-10-31 and its certificates have all expired: choose another `ca`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_a_directory_of_its_own() {
        let mut all: Vec<Directory> = PRESETS.iter().map(|(_, url)| Directory::parse(url).expect("valid")).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), PRESETS.len());
    }

    #[test]
    fn secrets_do_not_print() {
        let eab = Eab { kid: "kid".into(), hmac: Secret::Literal("hunter2".into()) };
        assert!(!format!("{eab:?}").contains("hunter2"));
    }
}
