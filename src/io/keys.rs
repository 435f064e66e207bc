//! Private keys and certificate signing requests.

use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, RsaKeySize, SanType,
};

use crate::domain::name::Identifier;
use crate::domain::problem::Failure;
use crate::domain::request::{KeyType, Request};
use crate::ports::Keys;

/// Keys from the operating system's randomness.
pub struct SystemKeys;

impl Keys for SystemKeys {
    fn generate(&self, key_type: KeyType) -> Result<String, Failure> {
        let pair = match key_type {
            KeyType::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            KeyType::P384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
            KeyType::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
            KeyType::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096),
        };
        pair.map(|pair| pair.serialize_pem()).map_err(|e| Failure::local("key", format!("making a {key_type} key: {e}")))
    }

    fn csr(&self, key: &str, request: &Request) -> Result<Vec<u8>, Failure> {
        let failed = |e: rcgen::Error| Failure::local("csr", format!("making the certificate signing request: {e}"));
        let pair = KeyPair::from_pem(key).map_err(failed)?;
        let mut params = CertificateParams::default();
        // Names in the SAN alone: CAs take none from the subject, and 64 characters would not hold them.
        params.distinguished_name = DistinguishedName::new();
        for identifier in &request.identifiers {
            params.subject_alt_names.push(match identifier {
                Identifier::Dns(name) => SanType::DnsName(name.as_str().try_into().map_err(failed)?),
                Identifier::Ip(ip) => SanType::IpAddress(*ip),
            });
        }
        let csr = params.serialize_request(&pair).map_err(failed)?;
        Ok(csr.der().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cert::key_type;
    use x509_parser::prelude::{FromDer as _, X509CertificationRequest};

    #[test]
    fn every_key_type_is_made_and_signs() {
        let request = Request {
            identifiers: ["b.example", "a.example", "::1"].iter().map(|n| n.parse().expect("valid")).collect(),
            key_type: KeyType::P256,
            profile: None,
        };
        for wanted in KeyType::ALL {
            let key = SystemKeys.generate(wanted).expect("made");
            assert_eq!(key_type(&key), Some(wanted));
            let der = SystemKeys.csr(&key, &request).expect("signed");
            let (_, csr) = X509CertificationRequest::from_der(&der).expect("parses");
            csr.verify_signature().expect("verifies");
            assert_eq!(csr.certification_request_info.subject.iter().count(), 0);
        }
    }
}
