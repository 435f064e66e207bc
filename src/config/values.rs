//! The values of the config: one parser a kind, each with what to write instead.

use std::net::SocketAddr;
use std::path::Path;

use crate::domain::name::Directory;
use crate::domain::request::KeyType;

use super::ca::{Secret, dead};
use super::hints::closest;
use super::walk::{At, Section};
use super::{Issue, KeyPolicy, PRESETS, Proxy};

impl<'a> Section<'a> {
    /// The `[ca.…]` tables of a root, where `ca` is not a label.
    pub(super) fn ca_section(&self) -> Option<Self> {
        if self.path.is_empty() && self.is_table("ca") { self.section("ca") } else { None }
    }

    /// `"0640"` or `0o640`.
    pub(super) fn mode(&self, key: &'static str) -> Option<At<u32>> {
        let at = if self.is_string(key) {
            let at = self.string(key)?;
            self.issues.keep(at, |t| u32::from_str_radix(t.trim_start_matches("0o"), 8).map_err(|_| bad_mode(t)))?
        } else {
            let at = self.integer(key)?;
            self.issues.keep(at, |n| u32::try_from(*n).map_err(|_| bad_mode(&n.to_string())))?
        };
        self.issues.keep(at, |mode| match mode {
            mode if mode & !0o777 != 0 => Err(bad_mode(&mode.to_string())),
            mode if mode & 0o007 != 0 => {
                Err((format!("{mode:04o} lets everyone on this host read a private key"), Some("use a `group`".to_owned())))
            }
            mode if mode & 0o400 == 0 || mode & !0o640 != 0 => {
                Err((format!("{mode:04o} is not a mode for a key"), Some("use \"0600\", \"0640\", \"0400\" or \"0440\"".to_owned())))
            }
            mode => Ok(*mode),
        })
    }

    /// A secret: `{ file = … }`, `{ env = … }`, `{ credential = … }`, or the text itself.
    pub(super) fn secret(&self, key: &'static str) -> Option<At<Secret>> {
        if self.is_string(key) {
            return self.string(key).map(|at| at.map(Secret::Literal));
        }
        let section = self.section(key)?;
        let found: Vec<At<Secret>> = [
            section.path("file").map(|at| at.map(Secret::File)),
            section.string("env").map(|at| at.map(Secret::Env)),
            section.string("credential").map(|at| at.map(Secret::Credential)),
        ]
        .into_iter()
        .flatten()
        .collect();
        section.finish(&[], &[]);
        match <[At<Secret>; 1]>::try_from(found) {
            Ok([one]) => {
                if let Secret::Credential(name) = &one.value
                    && (name.is_empty() || name.contains('/') || name.starts_with('.'))
                {
                    self.issues.push(one.issue("a credential's name has no `/` in it", None));
                }
                Some(one)
            }
            Err(found) => {
                let message = if found.is_empty() { "it names no source" } else { "it names more than one source" };
                let hint = Some("write { file = \"…\" }, { env = \"…\" } or { credential = \"…\" }".to_owned());
                self.issues.push(Issue {
                    origin: section.origin.clone(),
                    key: Some(section.path.clone()),
                    message: message.to_owned(),
                    hint,
                });
                None
            }
        }
    }
}

/// A value, or what is wrong with it and what to write instead.
pub(super) type Parsed<T> = Result<T, (String, Option<String>)>;

pub(super) fn plain(message: String) -> (String, Option<String>) {
    (message, None)
}

pub(super) fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(", ")
}

pub(super) fn bad_mode(text: &str) -> (String, Option<String>) {
    (format!("`{text}` is not a file mode"), Some("write mode = \"0640\"".to_owned()))
}

pub(super) fn email(text: &str) -> Parsed<String> {
    let good = text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.contains('.') && !host.contains('@'));
    if good && text.is_ascii() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '?' | ',' | ':')) {
        Ok(text.to_owned())
    } else {
        Err(plain(format!("`{}` is not one e-mail address", text.escape_debug())))
    }
}

pub(super) fn proxy(text: &str) -> Parsed<Proxy> {
    match text {
        "env" => Ok(Proxy::Env),
        "none" => Ok(Proxy::None),
        url if url.starts_with("http://") || url.starts_with("https://") => match ureq::Proxy::new(url) {
            Ok(_) => Ok(Proxy::Url(url.to_owned())),
            Err(_) => Err(plain(format!("`{url}` is not a proxy's URL"))),
        },
        other => Err((format!("`{other}` is not a proxy"), Some("write \"env\", \"none\" or \"http://host:port\"".to_owned()))),
    }
}

pub(super) fn address(text: &str) -> Parsed<SocketAddr> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => Err(plain(format!("`{text}` has no port that a CA could know"))),
        Ok(address) => Ok(address),
        Err(_) => Err((format!("`{text}` is not an address and port"), Some("write http = [\"[::]:80\", \"0.0.0.0:80\"]".to_owned()))),
    }
}

pub(super) fn within<T: TryFrom<i64>>(number: i64, least: i64, most: i64) -> Parsed<T> {
    match T::try_from(number) {
        Ok(fits) if (least..=most).contains(&number) => Ok(fits),
        _ => Err(plain(format!("{number} is not between {least} and {most}"))),
    }
}

/// A host name or address, as URLs have it, without a port.
pub(super) fn host(text: &str) -> Parsed<String> {
    let good = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '[' | ']' | ':'));
    if good && crate::domain::name::host_of(text) == text {
        Ok(text.to_ascii_lowercase())
    } else {
        Err((format!("`{}` is not a host", text.escape_debug()), Some("write a host name alone, like \"acme.example.com\"".to_owned())))
    }
}

pub(super) fn directory(text: &str) -> Parsed<Directory> {
    let directory = Directory::parse(text).map_err(plain)?;
    match dead(&directory) {
        Some(why) => Err(plain(why.to_owned())),
        None => Ok(directory),
    }
}

pub(super) fn key_type(text: &str) -> Parsed<KeyType> {
    text.parse().map_err(|()| {
        let all = KeyType::ALL.map(KeyType::as_str);
        let meant = closest(text, all).map_or_else(|| format!("use one of {}", all.join(", ")), |m| format!("did you mean `{m}`?"));
        (format!("no key type is called `{text}`"), Some(meant))
    })
}

pub(super) fn key_policy(text: &str) -> Parsed<KeyPolicy> {
    match text {
        "rotate" => Ok(KeyPolicy::Rotate),
        "reuse" => Ok(KeyPolicy::Reuse),
        other => Err((
            format!("`{other}` is neither \"rotate\" nor \"reuse\""),
            closest(other, ["rotate", "reuse"]).map(|m| format!("did you mean `{m}`?")),
        )),
    }
}

pub(super) fn account(what: &str, name: &str, id: Option<u32>) -> Parsed<u32> {
    id.or_else(|| name.parse().ok()).ok_or_else(|| {
        (
            format!("this host has no {what} `{name}`"),
            Some(format!("create it, or remove the key; `getent {}` lists them", if what == "user" { "passwd" } else { "group" })),
        )
    })
}

pub(super) fn profile(text: &str) -> Parsed<String> {
    if !text.is_empty() && text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')) {
        Ok(text.to_owned())
    } else {
        Err(plain(format!("`{}` is not a profile's name", text.escape_debug())))
    }
}

pub(super) fn command(argv: &[String]) -> Parsed<Vec<String>> {
    match argv {
        [] => Err(("the command is empty".to_owned(), Some("write deploy = [\"systemctl\", \"reload\", \"nginx\"]".to_owned()))),
        [program, ..] if program.is_empty() => Err(plain("the program's name is empty".to_owned())),
        [program] if program.contains(' ') && !Path::new(program).is_absolute() => Err((
            format!("`{program}` is one word of a command, with a space in it"),
            Some("give each word its own quotes; there is no shell (deploy = [\"sh\", \"-c\", \"…\"] starts one)".to_owned()),
        )),
        [program, ..] if program.contains('/') && !Path::new(program).is_absolute() => {
            Err((format!("`{program}` is a relative path; commands are run in `/`"), Some("give the whole path".to_owned())))
        }
        argv if argv.iter().any(|a| a.contains('\0')) => Err(plain("an argument has a NUL in it".to_owned())),
        argv => Ok(argv.to_vec()),
    }
}

pub(super) fn presets() -> String {
    PRESETS.iter().map(|(label, _)| *label).collect::<Vec<_>>().join(", ")
}
