//! X.509: what a leaf says, and whether key, leaf and chain belong together.

use std::collections::BTreeSet;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PublicKeyData};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::Pem;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::hash::{hex, sha256};
use super::name::{Identifier, IdentifierSet};
use super::request::{KeyType, Request};
use super::time::Time;

/// What a leaf certificate says, from its own bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Start of validity.
    pub not_before: Time,
    /// End of validity.
    pub not_after: Time,
    /// The subject alternative names; names of other kinds are left out.
    pub identifiers: IdentifierSet,
    /// The key; `None` where it is of a kind that certctl does not make.
    pub key_type: Option<KeyType>,
    /// The certificate's identifier for ARI (RFC 9773 §4.1), where it names its issuer's key.
    pub ari: Option<String>,
    /// The serial number in hexadecimal.
    pub serial: String,
    /// SHA-256 of the DER, in hexadecimal.
    pub fingerprint: String,
    /// The issuer's common name, else its whole name; from outside, so not yet escaped.
    pub issuer: String,
}

/// A PEM chain, leaf first, whose every link was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// What the leaf says.
    pub leaf: Leaf,
    /// The leaf alone, PEM.
    pub cert: String,
    /// Everything above the leaf, PEM; empty where the CA sent the leaf alone.
    pub chain: String,
    /// The leaf and everything above it, PEM.
    pub fullchain: String,
}

/// Why bytes are not the chain of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// They are no whole chain: cut, empty, something else.
    Garbled(String),
    /// They are a chain, and not this one: another key, a wrong order, a foreign signature.
    Wrong(String),
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Garbled(why) | Self::Wrong(why) => f.write_str(why),
        }
    }
}

/// How closely the links of a chain are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// By the names of issuer and subject: for what was verified when it was installed.
    Names,
    /// By signature too: for what a CA has just sent.
    Signatures,
}

impl Chain {
    /// Reads a PEM chain and checks that its leaf has `key` and that each certificate issued the one before it.
    ///
    /// Blocks other than `CERTIFICATE` are refused: a private key in what a CA sends is no chain.
    /// What a person put between the blocks is dropped.
    ///
    /// # Errors
    ///
    /// A sentence fragment that says what is wrong.
    pub fn parse(pem: &[u8], key: &str, links: Links) -> Result<Self, Unfit> {
        let blocks = blocks(pem).map_err(Unfit::Garbled)?;
        let certificates = blocks
            .iter()
            .enumerate()
            .map(|(n, block)| block.parse_x509().map_err(|_| Unfit::Garbled(format!("certificate {} of the chain does not parse", n + 1))))
            .collect::<Result<Vec<_>, _>>()?;
        let [leaf, ..] = certificates.as_slice() else {
            return Err(Unfit::Garbled("the chain holds no certificate".to_owned()));
        };
        let key = public_key(key).map_err(Unfit::Wrong)?;
        if leaf.tbs_certificate.subject_pki.raw != key {
            return Err(Unfit::Wrong(match certificates.iter().position(|c| c.tbs_certificate.subject_pki.raw == key) {
                Some(place) => format!("the chain is in the wrong order: the leaf stands at place {}", place + 1),
                None => "the key does not match the certificate".to_owned(),
            }));
        }
        for (n, pair) in certificates.windows(2).enumerate() {
            check_link(&pair[0], &pair[1], links).map_err(|why| Unfit::Wrong(format!("certificate {} of the chain {why}", n + 2)))?;
        }
        let texts: Vec<String> = blocks.iter().map(to_pem).collect();
        Ok(Self {
            leaf: read_leaf(leaf, &blocks[0].contents).map_err(Unfit::Garbled)?,
            cert: texts[0].clone(),
            chain: texts[1..].concat(),
            fullchain: texts.concat(),
        })
    }

    /// Checks that this is what was asked for, and valid now.
    ///
    /// Names beyond the requested ones are accepted: some CAs add them.
    ///
    /// # Errors
    ///
    /// A sentence fragment that says what is wrong.
    pub fn answers(&self, request: &Request, now: Time) -> Result<(), Unfit> {
        self.fits(request, now).map_err(Unfit::Wrong)
    }

    fn fits(&self, request: &Request, now: Time) -> Result<(), String> {
        let leaf = &self.leaf;
        let missing: Vec<String> = request.identifiers.difference(&leaf.identifiers).map(Identifier::to_string).collect();
        if !missing.is_empty() {
            return Err(format!("it is not for {}", missing.join(", ")));
        }
        if leaf.not_after <= now {
            return Err(format!("it expired at {}", leaf.not_after));
        }
        if leaf.not_before > now.after(CLOCK_SLACK) {
            return Err(format!("it is not valid before {} and our clock says {now}", leaf.not_before));
        }
        if leaf.not_after <= leaf.not_before {
            return Err("it ends before it begins".to_owned());
        }
        Ok(())
    }
}

/// The DER of the public key (SubjectPublicKeyInfo) that belongs to a private key in PEM.
///
/// # Errors
///
/// A sentence fragment that says what is wrong with the key.
pub fn public_key(key: &str) -> Result<Vec<u8>, String> {
    let pair = KeyPair::from_pem(key).map_err(|_| "the private key does not parse".to_owned())?;
    Ok(pair.subject_public_key_info())
}

/// The type of a private key in PEM; `None` where certctl does not make such keys.
#[must_use]
pub fn key_type(key: &str) -> Option<KeyType> {
    let spki = public_key(key).ok()?;
    let (_, spki) = <SubjectPublicKeyInfo<'_> as x509_parser::prelude::FromDer<_>>::from_der(&spki).ok()?;
    spki_type(&spki)
}

fn blocks(pem: &[u8]) -> Result<Vec<Pem>, String> {
    let mut blocks = Vec::new();
    for block in Pem::iter_from_buffer(pem) {
        let block = block.map_err(|_| "the chain is not PEM".to_owned())?;
        if block.label != "CERTIFICATE" {
            return Err(format!("the chain holds a block `{}`", super::text::escape(&block.label)));
        }
        if blocks.len() == MAX_CHAIN {
            return Err(format!("the chain holds more than {MAX_CHAIN} certificates"));
        }
        blocks.push(block);
    }
    Ok(blocks)
}

fn check_link(lower: &X509Certificate<'_>, upper: &X509Certificate<'_>, links: Links) -> Result<(), &'static str> {
    if lower.issuer().as_raw() != upper.subject().as_raw() {
        return Err("is not the issuer of the one before it: wrong order, or a piece is missing");
    }
    if !upper.is_ca() {
        return Err("is not a CA certificate");
    }
    match links {
        Links::Names => Ok(()),
        Links::Signatures => lower.verify_signature(Some(upper.public_key())).map_err(|_| "did not sign the one before it"),
    }
}

fn read_leaf(leaf: &X509Certificate<'_>, der: &[u8]) -> Result<Leaf, String> {
    let names = leaf.subject_alternative_name().map_err(|_| "the certificate's alternative names do not parse".to_owned())?;
    let identifiers = names.map(|n| n.value.general_names.iter().filter_map(identifier).collect());
    let validity = leaf.validity();
    let issuer = leaf.issuer();
    let common_name = issuer.iter_common_name().next().and_then(|n| n.as_str().ok());
    Ok(Leaf {
        not_before: Time::from_unix(validity.not_before.timestamp()),
        not_after: Time::from_unix(validity.not_after.timestamp()),
        identifiers: identifiers.unwrap_or_default(),
        key_type: spki_type(leaf.public_key()),
        ari: ari(leaf),
        serial: hex(leaf.tbs_certificate.raw_serial()),
        fingerprint: hex(&sha256(der)),
        issuer: common_name.map_or_else(|| issuer.to_string(), str::to_owned),
    })
}

fn identifier(name: &GeneralName<'_>) -> Option<Identifier> {
    match name {
        // Not through `Identifier::from_str`: a certificate on disk may hold names that we would not ask for.
        GeneralName::DNSName(name) => Some(Identifier::Dns(name.to_ascii_lowercase())),
        GeneralName::IPAddress(bytes) => match *bytes {
            bytes if bytes.len() == 4 => <[u8; 4]>::try_from(bytes).ok().map(|b| Identifier::Ip(IpAddr::from(b))),
            bytes => <[u8; 16]>::try_from(bytes).ok().map(|b| Identifier::Ip(IpAddr::from(b))),
        },
        _ => None,
    }
}

/// RFC 9773 §4.1: base64url of the authority key identifier, a dot, base64url of the serial's DER content.
fn ari(leaf: &X509Certificate<'_>) -> Option<String> {
    let key = leaf.extensions().iter().find_map(|e| match e.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref(),
        _ => None,
    })?;
    // `raw_serial` keeps the leading zero octet that DER needs, as the RFC's own example does.
    let serial = URL_SAFE_NO_PAD.encode(leaf.tbs_certificate.raw_serial());
    Some(format!("{}.{serial}", URL_SAFE_NO_PAD.encode(key.0)))
}

fn spki_type(spki: &SubjectPublicKeyInfo<'_>) -> Option<KeyType> {
    let parsed = spki.parsed().ok()?;
    match (&parsed, parsed.key_size()) {
        (PublicKey::EC(_), 256) => Some(KeyType::P256),
        (PublicKey::EC(_), 384) => Some(KeyType::P384),
        (PublicKey::RSA(_), 2048) => Some(KeyType::Rsa2048),
        (PublicKey::RSA(_), 4096) => Some(KeyType::Rsa4096),
        _ => None,
    }
}

fn to_pem(block: &Pem) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(&block.contents);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        out.extend(line.iter().map(|b| char::from(*b)));
        out.push('\n');
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}

/// Names that a request has and a leaf lacks.
#[must_use]
pub fn missing_names(request: &Request, leaf: &Leaf) -> BTreeSet<Identifier> {
    request.identifiers.difference(&leaf.identifiers).cloned().collect()
}

/// A host whose clock is behind the CA's by no more than this still installs a fresh certificate.
const CLOCK_SLACK: std::time::Duration = std::time::Duration::from_secs(3600);

/// No public hierarchy is deeper than four; more is a CA that wants our memory.
const MAX_CHAIN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer};

    struct Made {
        key: String,
        leaf: String,
        intermediate: String,
        root: String,
    }

    fn made() -> Made {
        let ca = |name: &str| {
            let mut params = CertificateParams::new(Vec::new()).expect("no names");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params
        };
        let key = || KeyPair::generate().expect("a key");
        let (root_key, mid_key, leaf_key) = (key(), key(), key());
        let root_params = ca("root");
        let root = root_params.self_signed(&root_key).expect("root");
        let root_issuer = Issuer::new(root_params, root_key);
        let mid_params = ca("intermediate");
        let intermediate = mid_params.signed_by(&mid_key, &root_issuer).expect("intermediate");
        let mid_issuer = Issuer::new(mid_params, mid_key);
        let mut leaf = CertificateParams::new(vec!["example.com".to_owned(), "192.0.2.7".to_owned()]).expect("names");
        leaf.use_authority_key_identifier_extension = true;
        leaf.not_before = rcgen::date_time_ymd(2026, 1, 1);
        leaf.not_after = rcgen::date_time_ymd(2026, 4, 1);
        let leaf = leaf.signed_by(&leaf_key, &mid_issuer).expect("leaf");
        Made { key: leaf_key.serialize_pem(), leaf: leaf.pem(), intermediate: intermediate.pem(), root: root.pem() }
    }

    #[test]
    fn a_good_chain_is_read() {
        let made = made();
        let pem = [made.leaf.as_str(), &made.intermediate, &made.root].concat();
        let chain = Chain::parse(pem.as_bytes(), &made.key, Links::Signatures).expect("good");
        assert_eq!(chain.leaf.key_type, Some(KeyType::P256));
        assert_eq!(chain.leaf.issuer, "intermediate");
        assert_eq!(chain.leaf.not_after.to_string(), "2026-04-01T00:00:00Z");
        assert!(chain.leaf.ari.as_ref().is_some_and(|a| a.contains('.')));
        assert_eq!(chain.fullchain, format!("{}{}", chain.cert, chain.chain));

        let request = |names: &[&str]| Request {
            identifiers: names.iter().map(|n| n.parse().expect("valid")).collect(),
            key_type: KeyType::P256,
            profile: None,
        };
        let now = Time::parse("2026-02-01T00:00:00Z").expect("valid");
        assert_eq!(chain.answers(&request(&["example.com"]), now), Ok(()));
        assert!(chain.answers(&request(&["example.com", "other.example"]), now).is_err());
        assert!(chain.answers(&request(&["192.0.2.7"]), Time::parse("2026-04-01T00:00:00Z").expect("valid")).is_err());
        assert!(chain.answers(&request(&["192.0.2.7"]), Time::parse("2025-12-31T00:00:00Z").expect("valid")).is_err());
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let (other, made) = (made(), made());
        let cases: [(&str, String, &str); 8] = [
            ("", String::new(), "no certificate"),
            ("garbage", "-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----\n".to_owned(), "not PEM"),
            ("key inside", made.leaf.clone() + &made.key, "a block `PRIVATE KEY`"),
            ("foreign leaf", other.leaf.clone() + &other.intermediate, "does not match"),
            ("wrong order", made.intermediate.clone() + &made.leaf, "wrong order"),
            ("gap", made.leaf.clone() + &made.root, "not the issuer"),
            ("same name, other key", made.leaf.clone() + &other.intermediate, "did not sign"),
            ("too long", made.leaf.clone() + &made.root.repeat(20), "more than"),
        ];
        for (what, pem, expected) in cases {
            let error = Chain::parse(pem.as_bytes(), &made.key, Links::Signatures).expect_err(what);
            assert!(error.to_string().contains(expected), "{what}: {error}");
        }
        assert!(Chain::parse(made.leaf.as_bytes(), "-----BEGIN PRIVATE KEY-----\nMII", Links::Names).is_err());
    }
}
