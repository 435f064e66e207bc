//! The CAs of the config, over instant-acme and ureq.

mod account;
mod client;
mod jws;
mod wire;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::config::{Ca, Proxy};
use crate::domain::name::Directory;
use crate::domain::problem::{Class, Failure};
use crate::ports::{Authorities, Authority, Clock, Progress, Store};

use client::Client;

/// Whether a secret is the key of an external account binding.
///
/// # Errors
///
/// What is wrong with it, never what it is.
pub fn check_hmac(text: &str) -> Result<(), String> {
    jws::mac_key(text).map(drop)
}

/// Every CA of the config, connected when it is first needed.
pub struct Acme<'a> {
    cas: BTreeMap<Directory, Desk<'a>>,
    office: Office<'a>,
}

/// One CA, and the connection to it once it was needed.
struct Desk<'a> {
    ca: &'a Ca,
    client: OnceLock<Result<Client, Failure>>,
}

/// What opening an account needs.
pub struct Office<'a> {
    /// Where accounts are kept.
    pub store: &'a dyn Store,
    /// For dates.
    pub clock: &'a dyn Clock,
    /// For the words that registering has.
    pub progress: &'a dyn Progress,
    /// The contact of new accounts.
    pub email: Option<&'a str>,
    /// The way to the CAs.
    pub proxy: &'a Proxy,
    /// The longest that one request may take: a certificate's share of the run.
    pub patience: std::time::Duration,
}

impl<'a> Acme<'a> {
    /// The CAs, none of them connected yet.
    pub fn new(cas: impl IntoIterator<Item = &'a Ca>, office: Office<'a>) -> Self {
        Self { cas: cas.into_iter().map(|ca| (ca.directory.clone(), Desk { ca, client: OnceLock::new() })).collect(), office }
    }
}

impl Authorities for Acme<'_> {
    fn at(&self, directory: &Directory) -> Result<&dyn Authority, Failure> {
        let Some(Desk { ca, client }) = self.cas.get(directory) else {
            return Err(Failure::new(Class::Local, "no-ca", format!("the config has no CA at {directory}")));
        };
        // Once per run: a CA that is down is asked once, not once per certificate.
        match client.get_or_init(|| Client::open(ca, &self.office)) {
            Ok(client) => Ok(client),
            Err(failure) => Err(failure.clone()),
        }
    }
}
