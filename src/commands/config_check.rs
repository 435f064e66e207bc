//! `certctl config check`: "ok", or everything that is wrong.

use std::path::Path;

use crate::cli::Global;
use crate::config::{Certificate, Challenge, Issue};
use crate::domain::outcome::Exit;
use crate::error::Result;
use crate::io::console::{self, Console};
use crate::io::{acme, hooks, host, http};

use super::context::{Context, refused};

pub(super) fn run(global: &Global, console: Console) -> Result<Exit> {
    let context = Context::open(global)?;
    let mut issues = Vec::new();
    for certificate in &context.config.certificates {
        issues.extend(places(certificate));
    }
    // What a run would find out only when it is needed: asked here, where a person waits for it.
    for ca in context.config.cas.values() {
        let roots = ca.roots.as_deref().and_then(|roots| http::check_roots(roots).err());
        let hmac = ca.eab.as_ref().and_then(|eab| host::secret(&eab.hmac).and_then(|hmac| acme::check_hmac(&hmac)).err());
        let hint = "a private CA's own certificate, PEM";
        for (key, why, hint) in
            [("roots", roots.map(|failure| failure.message), hint), ("eab.hmac", hmac, "the hmac key that the CA gave you, base64url")]
        {
            if let Some(message) = why {
                issues.push(Issue {
                    origin: ca.origin.clone(),
                    key: Some(format!("ca.{}.{key}", ca.label)),
                    message,
                    hint: Some(hint.to_owned()),
                });
            }
        }
    }
    if !issues.is_empty() {
        return Err(refused(&issues));
    }
    if context.config.certificates.is_empty() {
        console.say("the config names no certificates: `renew` has nothing to do");
    }
    console::data("ok\n")?;
    Ok(Exit::Ok)
}

/// The paths of a certificate that must be there.
fn places(certificate: &Certificate) -> Vec<Issue> {
    let mut issues = Vec::new();
    let mut wrong = |key: &str, message: String, hint: &str| {
        let issue =
            Issue { origin: certificate.origin.clone(), key: Some(format!("certificate.{key}")), message, hint: Some(hint.to_owned()) };
        if !issues.contains(&issue) {
            issues.push(issue);
        }
    };
    for challenge in certificate.challenges.values() {
        match challenge {
            Challenge::Webroot(root) if !root.is_dir() => wrong(
                "webroot",
                format!("{} is not a directory", root.display()),
                "create it, or name the directory that your web server shows",
            ),
            Challenge::Webroot(_) | Challenge::Standalone { .. } => {}
        }
    }
    if let Some(program) = certificate.deploy.as_ref().and_then(|argv| argv.first())
        && !found(program)
    {
        wrong("deploy", format!("there is no program `{program}` that can be run"), "give the whole path of a program; chmod +x a script");
    }
    issues
}

/// Whether a program is there, by the search path that deploy commands get.
fn found(program: &str) -> bool {
    if program.contains('/') {
        return host::is_program(Path::new(program));
    }
    hooks::PATH.split(':').any(|dir| host::is_program(&Path::new(dir).join(program)))
}
