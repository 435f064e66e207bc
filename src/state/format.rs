//! Facts as a file: human-readable, versioned, checksummed.
//!
//! The first line carries version and checksum of everything below it. A bit that flipped, a file
//! that was cut and an empty file are damage, never "nothing is remembered".

use crate::domain::hash::{hex, sha256};

use super::Facts;

/// Facts that were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// What is remembered.
    pub facts: Facts,
    /// The file's version, where a newer program wrote it: it may be read, never written.
    pub newer: Option<u32>,
}

/// Why a file is not facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It was cut, flipped or overwritten.
    Damaged(String),
}

/// The text of a state file.
#[must_use]
pub fn render(facts: &Facts) -> String {
    // Facts hold strings, numbers, times and lists of tables: nothing that TOML cannot write.
    let body = toml::to_string(facts).unwrap_or_default();
    format!("{PREFIX}{VERSION} sha256:{}\n{body}", checksum(VERSION, &body))
}

/// Reads a state file.
///
/// # Errors
///
/// Where it is damaged; a newer version is not.
pub fn parse(bytes: &[u8]) -> Result<Read, Unfit> {
    let damaged = |why: &str| Unfit::Damaged(why.to_owned());
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not text"))?;
    if text.is_empty() {
        return Err(damaged("it is empty"));
    }
    let (head, body) = text.split_once('\n').ok_or_else(|| damaged("its first line is cut"))?;
    let head = head.strip_prefix(PREFIX).ok_or_else(|| damaged("its first line is not one of ours"))?;
    let (version, sum) = head.split_once(" sha256:").ok_or_else(|| damaged("its first line has no checksum"))?;
    let version: u32 = version.parse().map_err(|_| damaged("its version is not a number"))?;
    if version > VERSION {
        // A newer program may have changed what a fact looks like, and how it is summed.
        return Ok(Read { facts: toml::from_str(body).unwrap_or_default(), newer: Some(version) });
    }
    if sum != checksum(version, body) {
        return Err(damaged("its checksum does not match"));
    }
    let facts = toml::from_str(body).map_err(|error| damaged(error.message()))?;
    Ok(Read { facts, newer: None })
}

/// Of the version too: a flip that makes it an older one is damage.
fn checksum(version: u32, body: &str) -> String {
    hex(&sha256(format!("{version}\n{body}").as_bytes()))
}

const PREFIX: &str = "# certctl state, version ";
const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::name::Directory;
    use crate::domain::problem::{Class, Failure};
    use crate::domain::time::Time;
    use crate::state::{Event, record};

    fn sample() -> Facts {
        let at = Directory::parse("https://ca.example/dir").expect("valid");
        let facts = record(Facts::default(), Event::Intent { at, resumes: false }, Time::from_millis(1_700_000_000_123));
        let failure = Failure::new(Class::Host, "connection", "x").with_detail("\"quoted\"\n\u{1b}é");
        record(facts, Event::Failed { failure }, Time::from_unix(1_700_000_009))
    }

    #[test]
    fn round_trip() {
        let read = parse(render(&sample()).as_bytes()).expect("fit");
        assert_eq!(read, Read { facts: sample(), newer: None });
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let good = render(&sample()).into_bytes();
        for cut in 0..good.len() {
            assert!(parse(&good[..cut]).is_err(), "cut at {cut}");
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            // A flip may make the version a newer one: then nothing is written, and a person is told.
            assert!(parse(&bad).is_err() || parse(&bad).is_ok_and(|read| read.newer.is_some()), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_file_is_read_and_marked() {
        let body = "attempts = []\ndeployments = []\nsomething_new = 1\n";
        let text = format!("{PREFIX}9 sha256:{}\n{body}", checksum(9, body));
        assert_eq!(parse(text.as_bytes()).expect("readable").newer, Some(9));
        let body = "attempts = \"another shape\"\n";
        let text = format!("{PREFIX}9 sha256:{}\n{body}", checksum(9, body));
        assert_eq!(parse(text.as_bytes()).expect("readable").newer, Some(9));
    }
}
