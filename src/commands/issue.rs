//! `certctl issue`: one certificate by hand, through the same path and gates as every other.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::cli::{Global, Issue};
use crate::config::{self, COMMAND_LINE, Source};
use crate::domain::access::Access;
use crate::domain::name::{Identifier, IdentifierSet, Name};
use crate::domain::outcome::Exit;
use crate::error::{Error, Kind, Result};
use crate::io::console::Console;
use crate::io::disk;
use crate::io::files::{self, Loaded};

use super::context::{Context, absolute, config_path};
use super::renew::work;

pub(super) fn run(global: &Global, args: &Issue, console: Console) -> Result<Exit> {
    let main = config_path(global);
    let loaded = load(&main, args, global.config.is_some())?;
    let configured = Context::with(global, main.clone(), loaded.clone())?;
    // For a set that is configured already it is `renew NAME`.
    let wanted: Option<IdentifierSet> = args.domains.iter().map(|d| d.parse::<Identifier>().ok()).collect();
    let fits = |key_type: &str| args.key_type.as_ref().is_none_or(|wanted| wanted == key_type);
    let known = configured
        .config
        .certificates
        .iter()
        .find(|c| Some(&c.request.identifiers) == wanted.as_ref() && fits(c.request.key_type.as_str()));
    if let Some(known) = known {
        let name = known.name.clone();
        console.say(&format!(
            "{name}: it is in the config ({}:{}); this is `renew {name}`",
            known.origin.file.display(),
            known.origin.line
        ));
        return work(&configured, &[known], BTreeSet::from([name]), BTreeSet::new(), false, None, console);
    }
    let text = config::issue(&args.domains, &keys(args));
    // A name that cannot be made of the first domain is told by the parser, with everything else.
    let name = new_name(args);
    let path = loaded.conf_dir.join(format!("{}.toml", name.as_ref().map_or("unnamed", Name::as_str)));
    if args.save && path.exists() {
        let error = Error::new(Kind::Config, format!("{} is there already", path.display()));
        return Err(error.hint("change it by hand, or give the new certificate another --name"));
    }
    let mut sources = loaded.sources.clone();
    let here = if args.save { path.clone() } else { PathBuf::from(COMMAND_LINE) };
    sources.push(Source { path: here, text: text.clone(), shared: true });
    // Parsed with everything else, so that it is compared with everything else.
    let mut context = Context::with(global, main.clone(), Loaded { sources, ..loaded })?;
    let (name, certificate) = (name?, context.config.certificates.last().cloned());
    let Some(certificate) = certificate.filter(|c| c.name == name) else {
        return Err(Error::new(Kind::Usage, "the command line names no certificate"));
    };
    if args.save {
        save(&main, &path, &text)?;
        console.say(&format!("{name}: saved as {}", path.display()));
    }
    context.config.certificates.retain(|c| c.name == name);
    let asked = BTreeSet::from([name.clone()]);
    let exit = work(&context, &[&certificate], asked, BTreeSet::new(), false, None, console)?;
    if exit == Exit::Ok && !args.save {
        console.say(&format!("{name}: it is not in the config, so nothing renews it; `--save` adds it"));
    }
    Ok(exit)
}

/// The config, or where there is none and none is needed an empty one.
fn load(main: &Path, args: &Issue, named: bool) -> Result<Loaded> {
    // One that was named and is not there is a typo.
    if main.exists() || named || (args.ca.is_none() && !args.save) {
        return files::load(main);
    }
    let base = main.parent().unwrap_or_else(|| Path::new("/"));
    let empty = Source { path: main.to_owned(), text: String::new(), shared: true };
    Ok(Loaded { sources: vec![empty], conf_dir: base.join("conf.d"), issues: Vec::new() })
}

fn new_name(args: &Issue) -> Result<Name> {
    let usage = |why: String| Error::new(Kind::Usage, why);
    match &args.name {
        Some(name) => Name::parse(name).map_err(usage),
        None => {
            let first = args.domains.first().map(String::as_str).unwrap_or_default();
            let first: Identifier = first.parse().map_err(usage)?;
            Name::from_identifier(&first).map_err(|why| usage(why).hint("give it a --name"))
        }
    }
}

fn keys(args: &Issue) -> Vec<(&'static str, toml::Value)> {
    let Issue { domains: _, webroot, standalone, ca, key_type, profile, name, save: _ } = args;
    let mut keys: Vec<(&'static str, toml::Value)> = Vec::new();
    if let Some(webroot) = webroot {
        keys.push(("webroot", absolute(webroot).display().to_string().into()));
    }
    if *standalone {
        keys.push(("standalone", true.into()));
    }
    for (key, value) in [("ca", ca), ("key_type", key_type), ("profile", profile), ("name", name)] {
        keys.extend(value.as_ref().map(|value| (key, value.clone().into())));
    }
    keys
}

/// Writes the certificate into the conf directory, where nothing of that name is.
fn save(main: &Path, path: &Path, text: &str) -> Result<()> {
    let failed = |error: std::io::Error| Error::new(Kind::Local, format!("saving the certificate: {error}"));
    if let Some(parent) = path.parent() {
        disk::make_dir(parent, 0o755).map_err(failed)?;
    }
    if !main.exists() {
        disk::replace(main, b"# certctl: see certctl.toml(5). Certificates are in conf.d.\n", Access::PUBLIC).map_err(failed)?;
    }
    disk::replace(path, text.as_bytes(), Access::PUBLIC).map_err(failed)
}
