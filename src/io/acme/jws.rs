//! The signatures that instant-acme cannot make: an account request with a key that is already durable.
//!
//! instant-acme makes the key of an account with contacts or with an external binding inside the
//! call and hands it out afterwards: a crash in between leaves an account that nobody can use, and a
//! single-use binding that is spent. RFC 7515 flattened JSON, ES256 and HS256 (RFC 7518).

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// An account key: ECDSA on P-256.
pub(super) struct AccountKey(EcdsaKeyPair);

impl AccountKey {
    /// Reads PKCS#8.
    pub(super) fn from_pkcs8(der: &[u8]) -> Result<Self, String> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).map(Self).map_err(|_| "it is not an ECDSA P-256 key".to_owned())
    }

    /// The public key as a JWK (RFC 7518 §6.2); its members stand in the order of RFC 7638.
    pub(super) fn jwk(&self) -> Value {
        // Uncompressed point: one octet of form, then two coordinates of 32.
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        json!({"crv": "P-256", "kty": "EC", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)})
    }

    /// Signs a request with the key itself in its header (RFC 8555 §6.2).
    pub(super) fn sign(&self, url: &str, nonce: &str, payload: &Value) -> Result<Vec<u8>, String> {
        let protected = json!({"alg": "ES256", "jwk": self.jwk(), "nonce": nonce, "url": url});
        let (input, mut out) = flattened(&protected, payload);
        let signature = self.0.sign(&SystemRandom::new(), input.as_bytes()).map_err(|_| "signing failed".to_owned())?;
        out["signature"] = URL_SAFE_NO_PAD.encode(signature.as_ref()).into();
        serde_json::to_vec(&out).map_err(|e| e.to_string())
    }

    /// The external account binding (RFC 8555 §7.3.4): our key, signed with the CA's.
    pub(super) fn binding(&self, url: &str, kid: &str, hmac_key: &str) -> Result<Value, String> {
        let key = mac_key(hmac_key)?;
        let protected = json!({"alg": "HS256", "kid": kid, "url": url});
        let (input, mut out) = flattened(&protected, &self.jwk());
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), input.as_bytes());
        out["signature"] = URL_SAFE_NO_PAD.encode(tag.as_ref()).into();
        Ok(out)
    }
}

/// The bytes of a MAC key as CAs show it.
pub(super) fn mac_key(text: &str) -> Result<Vec<u8>, String> {
    let text = text.trim().trim_end_matches('=');
    // The RFC says base64url; some CAs show the other alphabet.
    let padded = format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4));
    let key = URL_SAFE_NO_PAD.decode(text).or_else(|_| STANDARD.decode(padded));
    key.map_err(|_| "the hmac key is not base64url".to_owned())
}

fn flattened(protected: &Value, payload: &Value) -> (String, Value) {
    let (protected, payload) = (URL_SAFE_NO_PAD.encode(protected.to_string()), URL_SAFE_NO_PAD.encode(payload.to_string()));
    (format!("{protected}.{payload}"), json!({"protected": protected, "payload": payload}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    #[test]
    fn what_is_signed_verifies() {
        let pair = rcgen::KeyPair::generate().expect("a key");
        let key = AccountKey::from_pkcs8(&pair.serialize_der()).expect("P-256");
        let signed: Value =
            serde_json::from_slice(&key.sign("https://ca.example/new", "n", &json!({"a": 1})).expect("signed")).expect("JSON");
        let text = |name: &str| signed[name].as_str().expect("text").to_owned();
        let input = format!("{}.{}", text("protected"), text("payload"));
        let signature = URL_SAFE_NO_PAD.decode(text("signature")).expect("base64url");
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.0.public_key().as_ref().to_vec());
        public.verify(input.as_bytes(), &signature).expect("verifies");
        for hmac_key in ["AAECAw", "AAECAw==", "-_8", "+/8=", " AAEC\n"] {
            assert!(key.binding("https://ca.example/new", "kid", hmac_key).is_ok(), "{hmac_key}");
        }
        assert!(key.binding("https://ca.example/new", "kid", "not base64!").is_err());
        assert!(AccountKey::from_pkcs8(b"short").is_err());
    }
}
