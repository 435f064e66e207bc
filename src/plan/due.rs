//! When a certificate is due.
//!
//! Everything comes from the leaf's own dates: no constant here knows 90 days.

use std::time::Duration;

use crate::config::Certificate;
use crate::domain::cert::{Leaf, missing_names};
use crate::domain::hash::fraction;
use crate::domain::inventory::{Held, Holding};
use crate::domain::name::Name;
use crate::domain::step::Reason;
use crate::domain::time::Time;
use crate::state::Facts;

/// Why a new certificate is wanted now; `None` where none is.
#[must_use]
pub fn need(now: Time, certificate: &Certificate, holding: &Holding, forced: bool) -> Option<Reason> {
    match holding {
        Holding::Missing => Some(Reason::Missing),
        Holding::Damaged(why) => Some(Reason::Damaged(why.clone())),
        Holding::Unlinked(held) => need(now, certificate, &Holding::Held(held.clone()), forced),
        // An unmounted disk must not cost a certificate.
        Holding::Unreadable(_) => None,
        Holding::Held(held) => {
            differs(certificate, held).or_else(|| forced.then_some(Reason::Forced)).or_else(|| due(now, &certificate.name, &held.leaf))
        }
    }
}

/// The instant from which a certificate is renewed.
///
/// At two thirds of the lifetime, at half of it where that is under 10 days, spread by a hash over
/// ±1 % of the lifetime, and never after the danger point. The serial salts the hash: each issuance
/// draws anew, no two hosts draw alike, and a run can be replayed.
#[must_use]
pub fn renewal_instant(name: &Name, leaf: &Leaf) -> Time {
    let lifetime = leaf.not_after.since(leaf.not_before);
    let share = if lifetime < SHORT { lifetime / 2 } else { lifetime / 3 * 2 };
    let spread = lifetime / 50;
    let drawn = spread.mul_f64(fraction(&[b"renewal", name.as_str().as_bytes(), leaf.serial.as_bytes()]));
    leaf.not_before.after(share).before(spread / 2).after(drawn).min(danger_point(leaf))
}

/// The instant past which a certificate is due whatever else is said: an eighth of its life is left.
#[must_use]
pub fn danger_point(leaf: &Leaf) -> Time {
    leaf.not_after.before(leaf.not_after.since(leaf.not_before) / 8)
}

/// Whether the certificate is past its danger point without a new one.
///
/// For one that is missing, damaged or expired that is 24 h after the need arose.
#[must_use]
pub fn in_danger(now: Time, holding: &Holding, facts: &Facts) -> bool {
    match holding.held() {
        Some(held) if held.leaf.not_after > now => now >= danger_point(&held.leaf),
        _ => facts.needed_since.is_some_and(|since| now >= since.after(Duration::from_secs(86_400))),
    }
}

/// The next instant at which [`in_danger`] turns, or the certificate expires.
#[must_use]
pub fn turns(now: Time, holding: &Holding, facts: &Facts) -> Option<Time> {
    let leaf = holding.held().map(|held| &held.leaf);
    let instants =
        [leaf.map(danger_point), leaf.map(|leaf| leaf.not_after), facts.needed_since.map(|since| since.after(Duration::from_secs(86_400)))];
    instants.into_iter().flatten().filter(|instant| *instant > now).min()
}

/// What the config wants and the certificate is not.
///
/// Requests are compared with requests. What is not known to differ does not differ: a certificate
/// without a `meta.toml` is kept until it is due.
fn differs(certificate: &Certificate, held: &Held) -> Option<Reason> {
    let (wanted, leaf) = (&certificate.request, &held.leaf);
    let missing = missing_names(wanted, leaf);
    if !missing.is_empty() {
        return Some(Reason::NamesAdded(missing));
    }
    if leaf.key_type != Some(wanted.key_type) {
        return Some(Reason::KeyTypeDiffers { held: leaf.key_type, wanted: wanted.key_type });
    }
    if let Some(asked) = &held.request {
        let removed: std::collections::BTreeSet<_> = asked.identifiers.difference(&wanted.identifiers).cloned().collect();
        if !removed.is_empty() {
            return Some(Reason::NamesRemoved(removed));
        }
        if asked.profile != wanted.profile {
            return Some(Reason::ProfileDiffers { held: asked.profile.clone(), wanted: wanted.profile.clone() });
        }
    }
    let issued_by = held.issued_by.as_ref().filter(|ca| !certificate.cas.contains(ca))?;
    Some(Reason::CaDiffers { held: issued_by.clone() })
}

fn due(now: Time, name: &Name, leaf: &Leaf) -> Option<Reason> {
    if leaf.not_after <= now {
        return Some(Reason::Expired { at: leaf.not_after });
    }
    let since = renewal_instant(name, leaf);
    (now >= since).then_some(Reason::Due { since, expires: leaf.not_after })
}

/// Below this lifetime a certificate is renewed at half of it, as Boulder's own ARI windows do.
const SHORT: Duration = Duration::from_secs(10 * 86_400);

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::{Challenge, KeyPolicy, Origin};
    use crate::domain::access::Access;
    use crate::domain::inventory::Generation;
    use crate::domain::name::{Directory, Identifier};
    use crate::domain::request::{KeyType, Request};

    const HOUR: Duration = Duration::from_secs(3600);

    pub(crate) fn certificate(domains: &[&str]) -> Certificate {
        let domains: Vec<Identifier> = domains.iter().map(|d| d.parse().expect("valid")).collect();
        Certificate {
            name: Name::from_identifier(&domains[0]).expect("valid"),
            request: Request { identifiers: domains.iter().cloned().collect(), key_type: KeyType::P256, profile: None },
            cas: vec![Directory::parse("https://ca.example/dir").expect("valid")],
            challenges: domains.iter().map(|d| (d.clone(), Challenge::Standalone { port: 80 })).collect(),
            domains,
            key: KeyPolicy::Rotate,
            access: Access::PRIVATE,
            keep: 3,
            deploy: None,
            origin: Origin { file: "certctl.toml".into(), line: 1 },
        }
    }

    pub(crate) fn held(certificate: &Certificate, not_before: Time, days: u32) -> Held {
        Held {
            generation: Generation(1),
            leaf: Leaf {
                not_before,
                not_after: not_before.after(HOUR * 24 * days),
                identifiers: certificate.request.identifiers.clone(),
                key_type: Some(certificate.request.key_type),
                ari: None,
                serial: "01".into(),
                fingerprint: "ff".into(),
                issuer: "test".into(),
            },
            issued_by: Some(certificate.cas[0].clone()),
            request: Some(certificate.request.clone()),
            access_fits: true,
        }
    }

    fn start() -> Time {
        Time::parse("2026-01-01T00:00:00Z").expect("valid")
    }

    /// Lifetime in days; the hours of its life between which the renewal instant lies; the danger point.
    #[test]
    fn every_lifetime_renews_when_it_should() {
        let certificate = certificate(&["a.example"]);
        for (days, earliest, latest, danger) in [
            (90, 1418, 1462, 1890),
            (64, 1008, 1040, 1344),
            (47, 740, 764, 987),
            (45, 709, 731, 945),
            (10, 157, 163, 210),
            (9, 105, 111, 189),
            (6, 70, 74, 126),
            (1, 11, 13, 21),
        ] {
            for serial in 0..50 {
                let mut held = held(&certificate, start(), days);
                held.leaf.serial = serial.to_string();
                let instant = renewal_instant(&certificate.name, &held.leaf);
                let age = instant.since(start());
                assert!(age >= HOUR * earliest && age <= HOUR * latest, "{days} d: {}", age.as_secs() / 3600);
                assert_eq!(danger_point(&held.leaf), start().after(HOUR * danger), "{days} d");
                let holding = Holding::Held(Box::new(held));
                let just_before = instant.before(Duration::from_secs(1));
                assert_eq!(need(just_before, &certificate, &holding, false), None, "{days} d");
                assert!(matches!(need(instant, &certificate, &holding, false), Some(Reason::Due { .. })), "{days} d");
                let expired = start().after(HOUR * 24 * days);
                assert!(matches!(need(expired, &certificate, &holding, false), Some(Reason::Expired { .. })), "{days} d");
            }
        }
    }

    #[test]
    fn renewals_spread_over_the_whole_hundredth() {
        let certificate = certificate(&["a.example"]);
        let mut ages: Vec<u64> = (0..500)
            .map(|serial| {
                let mut held = held(&certificate, start(), 90);
                held.leaf.serial = serial.to_string();
                renewal_instant(&certificate.name, &held.leaf).since(start()).as_secs()
            })
            .collect();
        ages.sort_unstable();
        assert!(ages[499] - ages[0] > 40 * 3600, "only {} s apart", ages[499] - ages[0]);
    }

    #[test]
    fn absurd_dates_do_not_panic() {
        let certificate = certificate(&["a.example"]);
        for (from, to) in [(5, 5), (9, 5), (i64::MIN / 2000, i64::MAX / 2000)] {
            let mut held = held(&certificate, start(), 1);
            held.leaf.not_before = Time::from_unix(from);
            held.leaf.not_after = Time::from_unix(to);
            let _ = need(start(), &certificate, &Holding::Held(Box::new(held)), false);
        }
    }

    #[test]
    fn what_differs_is_due_and_what_is_unknown_is_not() {
        let base = certificate(&["a.example", "b.example"]);
        let held = held(&base, start(), 90);
        let now = start().after(HOUR);
        let need_of = |certificate: &Certificate, held: &Held| need(now, certificate, &Holding::Held(Box::new(held.clone())), false);
        assert_eq!(need_of(&base, &held), None);

        let added = certificate(&["a.example", "b.example", "c.example"]);
        assert!(matches!(need_of(&added, &held), Some(Reason::NamesAdded(names)) if names.len() == 1));
        let removed = certificate(&["a.example"]);
        assert!(matches!(need_of(&removed, &held), Some(Reason::NamesRemoved(names)) if names.len() == 1));
        let mut other_key = base.clone();
        other_key.request.key_type = KeyType::Rsa2048;
        assert!(matches!(need_of(&other_key, &held), Some(Reason::KeyTypeDiffers { .. })));
        let mut profile = base.clone();
        profile.request.profile = Some("shortlived".into());
        assert!(matches!(need_of(&profile, &held), Some(Reason::ProfileDiffers { .. })));
        let mut other_ca = base.clone();
        other_ca.cas = vec![Directory::parse("https://other.example/dir").expect("valid")];
        assert!(matches!(need_of(&other_ca, &held), Some(Reason::CaDiffers { .. })));

        let mut unknown = held.clone();
        (unknown.request, unknown.issued_by) = (None, None);
        for config in [&removed, &profile, &other_ca] {
            assert_eq!(need_of(config, &unknown), None);
        }
        let mut generous = held;
        generous.leaf.identifiers.insert("www.a.example".parse().expect("valid"));
        assert_eq!(need_of(&base, &generous), None, "a CA may add names");
    }

    #[test]
    fn danger() {
        let certificate = certificate(&["a.example"]);
        let holding = Holding::Held(Box::new(held(&certificate, start(), 80)));
        let facts = Facts::default();
        assert!(!in_danger(start().after(HOUR * 24 * 69), &holding, &facts));
        assert!(in_danger(start().after(HOUR * 24 * 71), &holding, &facts));
        let facts = Facts { needed_since: Some(start()), ..Facts::default() };
        assert!(!in_danger(start().after(HOUR * 23), &Holding::Missing, &facts));
        assert!(in_danger(start().after(HOUR * 24), &Holding::Missing, &facts));
    }
}
