//! Names: of certificates, of what they are for, and of CAs.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::hash::{hex, sha256};

/// What a person calls a certificate; safe as a file name by construction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(String);

impl Name {
    /// Reads a name: lower-case letters, digits, `.`, `_` and `-`, not beginning with `.` or `-`.
    ///
    /// # Errors
    ///
    /// A sentence fragment that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a name must not be empty".to_owned());
        }
        if text.len() > Self::MAX {
            return Err(format!("`{text}` is longer than {} characters", Self::MAX));
        }
        if text.starts_with(['.', '-']) {
            return Err(format!("`{text}` begins with `{}`", &text[..1]));
        }
        match text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-')) {
            Some(bad) => Err(format!("`{text}` has `{bad}` in it: a name may have a-z, 0-9, `.`, `_` and `-`")),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// The name that a certificate has when the config gives none: its first domain.
    ///
    /// `*.x` becomes `_wildcard.x`, the colons of an IPv6 address become `-`.
    ///
    /// # Errors
    ///
    /// Where the domain is too long for a file name.
    pub fn from_identifier(identifier: &Identifier) -> Result<Self, String> {
        let text = match identifier {
            Identifier::Dns(name) => name.replacen("*.", "_wildcard.", 1),
            Identifier::Ip(ip) => {
                let text = ip.to_string().replace(':', "-");
                if text.starts_with('-') { format!("0{text}") } else { text }
            }
        };
        Self::parse(&text)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// File systems end at 255 bytes; a temporary file's prefix and suffix want some of them.
    const MAX: usize = 200;
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a certificate is for (RFC 8555 §9.7.7, RFC 8738).
///
/// A DNS name is in lower-case A-label form; a wildcard is an identifier of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identifier {
    /// A host name, or `*.` and a host name.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

/// The names of one certificate; order does not matter to a CA.
pub type IdentifierSet = BTreeSet<Identifier>;

impl Identifier {
    /// Whether this is a wildcard name.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        matches!(self, Self::Dns(name) if name.starts_with("*."))
    }

    /// Whether the wildcard `self` covers `other`, in the sense of RFC 6125: one label.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dns(wildcard), Self::Dns(name)) => wildcard
                .strip_prefix("*.")
                .is_some_and(|base| name.split_once('.').is_some_and(|(label, rest)| label != "*" && rest == base)),
            _ => false,
        }
    }
}

impl FromStr for Identifier {
    type Err = String;

    /// Reads a domain as people write it: any case, IDNA, a trailing dot, a `*.`, or an address.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ip) = IpAddr::from_str(text.trim_start_matches('[').trim_end_matches(']')) {
            return Ok(Self::Ip(ip));
        }
        if text.is_empty() {
            return Err("a domain must not be empty".to_owned());
        }
        if text.contains("://") || text.contains('/') {
            return Err(format!("`{text}` is a URL or a path, not a domain"));
        }
        let (wildcard, base) = match text.strip_prefix("*.") {
            Some(base) => ("*.", base),
            None => ("", text),
        };
        if base.contains('*') {
            return Err(format!("`{text}`: a `*` may only be the whole first label, as in `*.example.com`"));
        }
        let base = base.strip_suffix('.').unwrap_or(base);
        if let Some(bad) = base.chars().find(|c| c.is_ascii() && !c.is_ascii_alphanumeric() && !matches!(c, '.' | '-')) {
            return Err(match bad {
                ':' => format!("`{text}` has a port: give the domain alone"),
                bad => format!("`{text}` has `{}` in it, which no certificate name may have", bad.escape_default()),
            });
        }
        if base.is_ascii() {
            // Before IDNA, which says of all of these only that they are wrong.
            check_labels(text, base)?;
        }
        let ascii = idna::domain_to_ascii_strict(base).map_err(|_| format!("`{text}` is not a domain name"))?;
        check_labels(text, &ascii)?;
        Ok(Self::Dns(format!("{wildcard}{ascii}")))
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

impl Serialize for Identifier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Identifier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

fn check_labels(text: &str, ascii: &str) -> Result<(), String> {
    if ascii.len() > 253 {
        return Err(format!("`{text}` is longer than 253 characters"));
    }
    for label in ascii.split('.') {
        if label.is_empty() {
            return Err(format!("`{text}` has an empty label"));
        }
        if label.len() > 63 {
            return Err(format!("`{text}` has a label longer than 63 characters"));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(format!("`{text}`: the label `{label}` begins or ends with `-`"));
        }
    }
    let last = ascii.rsplit('.').next().unwrap_or(ascii);
    if last.chars().all(|c| c.is_ascii_digit()) {
        return Err(format!("`{text}` is neither a domain (its last label is a number) nor an address"));
    }
    Ok(())
}

/// A CA's directory URL (RFC 8555 §7.1.1), normalised: what accounts and ledgers are keyed by.
///
/// A label in the config is not an identity; two labels with one URL are one CA.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Directory(String);

impl Directory {
    /// Reads an `https` URL.
    ///
    /// # Errors
    ///
    /// A sentence fragment that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(rest) = strip_prefix_ignore_case(text, "https://") else {
            return Err(if text.starts_with("http://") {
                format!("`{text}` is not encrypted: ACME needs https (RFC 8555 §6.1)")
            } else {
                format!("`{text}` is not an https URL")
            });
        };
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let authority = authority.to_ascii_lowercase();
        let authority = authority.strip_suffix(":443").unwrap_or(&authority);
        let host = host_of(authority);
        let port = authority.strip_prefix(host).and_then(|rest| rest.strip_prefix(':'));
        if port.is_some_and(|port| port.parse::<u16>().is_err()) {
            return Err(format!("`{}` has no valid port", text.escape_default()));
        }
        if host.is_empty() || authority.contains('@') || text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#') {
            return Err(format!("`{}` is not an https URL", text.escape_default()));
        }
        let url = format!("https://{authority}{}", if path.is_empty() { "/" } else { path });
        match url.parse::<ureq::http::Uri>() {
            Ok(_) => Ok(Self(url)),
            Err(_) => Err(format!("`{text}` is not an https URL")),
        }
    }

    /// The URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host name or address, without the port.
    #[must_use]
    pub fn host(&self) -> &str {
        let rest = self.0.strip_prefix("https://").unwrap_or(&self.0);
        host_of(rest.split('/').next().unwrap_or(rest))
    }

    /// A name for this CA's folder: the host for people, a hash so that no two CAs share one.
    #[must_use]
    pub fn folder(&self) -> String {
        let host: String = self.host().chars().map(|c| if c == ':' { '-' } else { c }).collect();
        let host = host.trim_start_matches(['[', '-', '.']).trim_end_matches(']');
        format!("{}-{}", &host[..host.len().min(150)], &hex(&sha256(self.0.as_bytes()))[..8])
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Directory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// The host of a URL's authority: what stands before the port.
#[must_use]
pub fn host_of(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    }
}

fn strip_prefix_ignore_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    text.get(..prefix.len()).filter(|head| head.eq_ignore_ascii_case(prefix)).map(|_| &text[prefix.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(text: &str) -> Result<String, String> {
        text.parse::<Identifier>().map(|i| i.to_string())
    }

    #[test]
    fn domains_are_normalised() {
        for (text, ascii) in [
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("*.BÜCHER.example", "*.xn--bcher-kva.example"),
            ("localhost", "localhost"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("2001:DB8::1", "2001:db8::1"),
            ("192.0.2.7", "192.0.2.7"),
        ] {
            assert_eq!(dns(text).as_deref(), Ok(ascii), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_domain_is_refused() {
        let long = "a".repeat(64) + ".example";
        for text in [
            "",
            ".",
            "a..b",
            ".example.com",
            "-a.example",
            "a-.example",
            "a_b.example",
            "a b.example",
            "foo.*.example",
            "*",
            "*.",
            "**.example",
            "http://example.com",
            "example.com/x",
            "example.com:80",
            "192.0.2.300",
            "1.2.3",
            "ex\u{1b}ample.com",
            "a\0b",
            &long,
            &"a.".repeat(130),
            "xn--zzzzzzzzz-.example",
            "\u{202e}.example",
        ] {
            assert!(dns(text).is_err(), "{text:?} -> {:?}", dns(text));
        }
    }

    #[test]
    fn a_wildcard_covers_one_label() {
        let wildcard: Identifier = "*.example.com".parse().expect("valid");
        for (name, covered) in [("a.example.com", true), ("example.com", false), ("a.b.example.com", false), ("*.example.com", false)] {
            assert_eq!(wildcard.covers(&name.parse().expect("valid")), covered, "{name}");
        }
    }

    #[test]
    fn names_are_file_names() {
        for (domain, name) in [("*.example.com", "_wildcard.example.com"), ("::1", "0--1"), ("2001:db8::1", "2001-db8--1")] {
            let identifier: Identifier = domain.parse().expect("valid");
            assert_eq!(Name::from_identifier(&identifier).expect("valid").as_str(), name);
        }
        for text in ["", ".", "..", ".x", "-x", "a/b", "A", "a b", "a\0", &"a".repeat(201)] {
            assert!(Name::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn directories_are_compared_normalised() {
        let directory = Directory::parse("HTTPS://Acme.Example:443/dir").expect("valid");
        assert_eq!(directory, Directory::parse("https://acme.example/dir").expect("valid"));
        assert_eq!(directory.host(), "acme.example");
        assert_eq!(Directory::parse("https://[::1]:14000/dir").expect("valid").host(), "[::1]");
        assert_ne!(directory.folder(), Directory::parse("https://acme.example/other").expect("valid").folder());
        for text in ["http://a/", "ftp://a/", "https://", "https://a b/", "https://u@a/", "https://a/\n", "", "é"] {
            assert!(Directory::parse(text).is_err(), "{text}");
        }
    }
}
