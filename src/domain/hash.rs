//! Hashes: SHA-256 for what must be trusted, FNV-1a for what must be quick.

use aws_lc_rs::digest::{SHA256, digest};

/// SHA-256 of the parts, each preceded by its length so that no two lists of parts collide.
#[must_use]
pub fn sha256_parts(parts: &[&[u8]]) -> [u8; 32] {
    let mut all = Vec::with_capacity(parts.iter().map(|p| p.len() + 8).sum());
    for part in parts {
        all.extend_from_slice(&(part.len() as u64).to_be_bytes());
        all.extend_from_slice(part);
    }
    sha256(&all)
}

/// SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let nibbles = bytes.iter().flat_map(|b| [b >> 4, b & 15]);
    nibbles.map(|n| char::from(DIGITS[usize::from(n)])).collect()
}

/// A number in `0.0 ..= 1.0` drawn by hash: stable over runs, different for different parts.
///
/// Policy draws its jitter with this, never with a random number generator: adding one certificate
/// moves no other's date, and a run can be replayed.
#[must_use]
pub fn fraction(parts: &[&[u8]]) -> f64 {
    let hash = sha256_parts(parts);
    let mut top = [0; 4];
    top.copy_from_slice(&hash[..4]);
    f64::from(u32::from_be_bytes(top)) / f64::from(u32::MAX)
}

/// FNV-1a, 64 bits: notices change, resists no attacker.
///
/// For fingerprints of files that only root may write; SHA-256 over 10,000 of them would cost more
/// than the whole no-op run may.
#[derive(Clone, Copy)]
pub struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Takes bytes in.
    #[must_use]
    pub fn with(mut self, bytes: &[u8]) -> Self {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self
    }

    /// Takes a number in, as one unit: a file's stat has ten of them.
    #[must_use]
    pub fn with_number(self, number: i64) -> Self {
        let mixed = (self.0 ^ number.cast_unsigned()).wrapping_mul(0x0000_0100_0000_01b3);
        Self(mixed ^ (mixed >> 32))
    }

    /// The hash of what was taken in.
    #[must_use]
    pub const fn finish(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        assert!(hex(&sha256(b"abc")).starts_with("ba7816bf8f01cfea"));
        assert_eq!(Fnv::default().with(b"a").finish(), 0xaf63_dc4c_8601_ec8c);
        assert_ne!(sha256_parts(&[b"ab", b"c"]), sha256_parts(&[b"a", b"bc"]));
    }

    #[test]
    fn fractions_are_stable_and_spread() {
        assert!((fraction(&[b"x"]) - fraction(&[b"x"])).abs() < f64::EPSILON);
        let low = (0..1000u32).filter(|n| fraction(&[&n.to_be_bytes()]) < 0.5).count();
        assert!((400..600).contains(&low), "{low} of 1000 below one half");
    }
}
