//! What is on disk, as an inventory. Reads through ports, changes nothing.

use crate::config::Certificate;
use crate::domain::cert::{Chain, Links};
use crate::domain::inventory::{Held, Holding, Meta};
use crate::ports::{Stored, Vault};

/// What the vault holds for a certificate.
#[must_use]
pub fn holding(vault: &dyn Vault, certificate: &Certificate) -> Holding {
    let live = match vault.live(&certificate.name) {
        Ok(live) => live,
        Err(error) => return Holding::Unreadable(error.to_string()),
    };
    match live {
        // One that leads to another certificate, or out of the vault, serves what this name must not.
        Some(stored) if !stored.is_empty() && stored.generation.is_some() => {
            judge(vault, certificate, &stored).map_or_else(|why| why, |held| Holding::Held(Box::new(held)))
        }
        // No link, or one that leads nowhere: the generation that it should name may still be there.
        gone => match vault.newest(&certificate.name) {
            Err(error) => Holding::Unreadable(error.to_string()),
            Ok(Some(stored)) => match judge(vault, certificate, &stored) {
                Ok(held) => Holding::Unlinked(Box::new(held)),
                Err(why) => why,
            },
            Ok(None) if gone.is_some() => Holding::Damaged("the live link does not lead to a generation of this certificate".to_owned()),
            Ok(None) => Holding::Missing,
        },
    }
}

fn judge(vault: &dyn Vault, certificate: &Certificate, stored: &Stored) -> Result<Held, Holding> {
    let damaged = |why: String| Holding::Damaged(why);
    let Stored { generation, key, cert, chain, fullchain, meta } = stored;
    let generation = generation.ok_or_else(|| damaged("the live link does not lead into the vault".to_owned()))?;
    let part = |bytes: &Option<Vec<u8>>, file: &str| bytes.clone().ok_or_else(|| damaged(format!("{file} is missing")));
    let key = String::from_utf8(part(key, "privkey.pem")?).map_err(|_| damaged("privkey.pem is not PEM".to_owned()))?;
    let parsed = Chain::parse(&part(fullchain, "fullchain.pem")?, &key, Links::Names).map_err(|why| damaged(why.to_string()))?;
    // Compared as certificates, not as bytes: a person may have added a comment or other line ends.
    let same = |bytes: &[u8], ours: &str| {
        let strip = |text: &[u8]| text.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect::<Vec<u8>>();
        strip(bytes) == strip(ours.as_bytes())
    };
    if !same(&part(cert, "cert.pem")?, &parsed.cert) {
        return Err(damaged("cert.pem is not the leaf of fullchain.pem".to_owned()));
    }
    if !same(&part(chain, "chain.pem")?, &parsed.chain) {
        return Err(damaged("chain.pem is not the rest of fullchain.pem".to_owned()));
    }
    let meta = meta.as_deref().and_then(read_meta);
    let access_fits =
        vault.access_fits(&certificate.name, generation, certificate.access).map_err(|error| Holding::Unreadable(error.to_string()))?;
    Ok(Held {
        generation,
        leaf: parsed.leaf,
        issued_by: meta.as_ref().map(|m| m.directory.clone()),
        request: meta.map(|m| m.request),
        access_fits,
    })
}

/// A `meta.toml` that does not parse says nothing; saying nothing never means "differs".
fn read_meta(bytes: &[u8]) -> Option<Meta> {
    let meta: Meta = toml::from_str(std::str::from_utf8(bytes).ok()?).ok()?;
    (meta.version <= Meta::VERSION).then_some(meta)
}
