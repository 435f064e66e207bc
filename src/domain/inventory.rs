//! What is on disk, as values.

use super::access::Access;
use super::cert::{Chain, Leaf};
use super::name::Directory;
use super::request::Request;

/// One immutable directory with key, chain and `meta.toml`; later ones have larger numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl std::fmt::Display for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What the vault holds for one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holding {
    /// Nothing was ever installed.
    Missing,
    /// Something is there and cannot serve; why.
    Damaged(String),
    /// Nothing is live, but this whole generation lies in the vault: someone removed the link to it.
    Unlinked(Box<Held>),
    /// Whatever is there cannot be read: a failure of this host, never "missing".
    ///
    /// An unmounted disk must not cost a certificate.
    Unreadable(String),
    /// A key and a chain that belong together.
    Held(Box<Held>),
}

impl Holding {
    /// The certificate that is in service, if one is.
    #[must_use]
    pub fn held(&self) -> Option<&Held> {
        match self {
            Self::Held(held) => Some(held),
            Self::Missing | Self::Damaged(_) | Self::Unlinked(_) | Self::Unreadable(_) => None,
        }
    }
}

/// A generation that is whole, and what is known of how it came.
///
/// `None` means unknown, which never means "differs".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which one.
    pub generation: Generation,
    /// What the leaf says.
    pub leaf: Leaf,
    /// Which CA issued it, from `meta.toml`.
    pub issued_by: Option<Directory>,
    /// What was asked for, from `meta.toml`.
    pub request: Option<Request>,
    /// Whether its files have the owner, group and mode that the config wants.
    pub access_fits: bool,
}

/// A new generation, ready to be installed.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The private key, PKCS#8 PEM.
    pub key: String,
    /// The chain that belongs to it.
    pub chain: Chain,
    /// What `meta.toml` will say.
    pub meta: Meta,
    /// Who may read it.
    pub access: Access,
}

/// How a generation came to be: `meta.toml`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Meta {
    /// Of this format.
    pub version: u32,
    /// When it was issued.
    pub issued: super::time::Time,
    /// Which CA issued it.
    pub directory: Directory,
    /// To which account.
    pub account: String,
    /// By which order.
    pub order: String,
    /// The certificate's ARI identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ari: Option<String>,
    /// What was asked for.
    pub request: Request,
}

impl Meta {
    /// The version that this program writes.
    pub const VERSION: u32 = 1;
}
