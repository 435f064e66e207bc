//! What the config may say: every key, its type and its meaning.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeTable;

use crate::domain::access::Access;
use crate::domain::name::{Directory, Identifier, Name};
use crate::domain::request::{KeyType, Request};
use crate::domain::time::parse_span;

use super::ca::{Ca, Eab, Secret, preset};
use super::hints::closest;
use super::values;
use super::walk::{At, Elsewhere, Issues, Section, Text};
use super::{COMMAND_LINE, Certificate, Challenge, Config, Host, Issue, KeyPolicy, Origin, PRESETS, Proxy, Source};

/// Reads the main config file and those of `conf.d`, in this order.
///
/// # Errors
///
/// Everything that is wrong with all of them.
pub fn parse(sources: &[Source], host: &dyn Host) -> Result<Config, Vec<Issue>> {
    let issues = Issues::default();
    let texts: Vec<Text<'_>> = sources.iter().map(Text::new).collect();
    let tables: Vec<_> = texts
        .iter()
        .map(|text| {
            let (table, errors) = DeTable::parse_recoverable(&text.source.text);
            for error in &errors {
                let origin = text.origin(error.span().unwrap_or_default());
                let line = text.source.text.lines().nth(origin.line.saturating_sub(1)).unwrap_or_default();
                let hint = line.trim_start().starts_with("[ca.").then(|| {
                    "in TOML `ca` is either a value or a table: name the CA in each [[certificate]], or move the [ca.…] tables to a file of conf.d".to_owned()
                });
                issues.push(Issue { origin, key: None, message: format!("this is not TOML: {}", values::one_line(error.message())), hint });
            }
            // What the parser recovered after an error may be half a value: judging it would only add noise.
            if errors.is_empty() { table } else { toml::Spanned::new(0..0, DeTable::new()) }
        })
        .collect();
    let roots: Vec<Section<'_>> = texts.iter().zip(&tables).map(|(text, table)| Section::new(text, &issues, "", table)).collect();

    let labels = ca_labels(&roots);
    let has = |keys: &[&str]| roots.iter().any(|root| keys.iter().any(|key| root.origin_of(key).is_some() && !root.is_table(key)));
    let tried = (has(&["ca"]), has(CHOICES));
    let mut reader = Reader { issues: &issues, host, cas: BTreeMap::new(), labels, files: Vec::new(), tried };
    let globals = roots.first().map(|root| reader.globals(root)).unwrap_or_default();
    for root in &roots {
        reader.ca_tables(root);
    }
    let main_defaults = roots.first().map(|root| reader.partial(root)).unwrap_or_default();
    let mut certificates = Vec::new();
    for (n, root) in roots.iter().enumerate() {
        let defaults = if n == 0 { main_defaults.clone() } else { reader.partial(root).over(&main_defaults) };
        for section in root.sections("certificate") {
            certificates.extend(reader.certificate(&section, &defaults));
        }
        root.finish(LATER_ROOT, if n == 0 { NOT_AT_ROOT } else { GLOBAL_IN_MAIN });
    }
    reader.compare(&certificates);
    let Reader { cas, files, .. } = reader;
    let mut found = issues.0.into_inner();
    if !found.is_empty() {
        found.sort_by_key(|i| (sources.iter().position(|s| s.path == i.origin.file), i.origin.line));
        found.dedup();
        return Err(found);
    }
    let Globals { email, state_dir, parallel, lock_wait, deadline, proxy, listen_http } = globals;
    Ok(Config {
        email,
        state_dir,
        parallel: parallel.unwrap_or(4),
        lock_wait: lock_wait.unwrap_or(Duration::from_secs(120)),
        deadline: deadline.unwrap_or(Duration::from_secs(900)),
        proxy: proxy.unwrap_or(Proxy::Env),
        listen_http,
        cas: cas.into_values().map(|ca| (ca.directory.clone(), ca)).collect(),
        certificates,
        files,
    })
}

/// The text of a config that holds one `[[certificate]]`, as `issue` makes it and `--save` writes it.
#[must_use]
pub fn issue(domains: &[String], keys: &[(&str, toml::Value)]) -> String {
    let mut certificate = toml::Table::new();
    certificate.insert("domains".to_owned(), domains.iter().cloned().map(toml::Value::String).collect::<Vec<_>>().into());
    for (key, value) in keys {
        certificate.insert((*key).to_owned(), value.clone());
    }
    let body = toml::to_string(&certificate).unwrap_or_default();
    format!("[[certificate]]\n{body}")
}

struct Reader<'a> {
    issues: &'a Issues,
    host: &'a dyn Host,
    cas: BTreeMap<String, Ca>,
    labels: BTreeSet<String>,
    files: Vec<PathBuf>,
    /// Whether a root has a `ca`, or a choice of challenge, right or wrong.
    tried: (bool, bool),
}

#[derive(Default)]
struct Globals {
    email: Option<String>,
    state_dir: Option<PathBuf>,
    parallel: Option<usize>,
    lock_wait: Option<Duration>,
    deadline: Option<Duration>,
    proxy: Option<Proxy>,
    listen_http: Vec<SocketAddr>,
}

/// The keys of a certificate, or of a root that gives them as defaults.
#[derive(Clone, Default)]
struct Partial {
    ca: Option<At<String>>,
    key_type: Option<At<KeyType>>,
    profile: Option<At<String>>,
    key: Option<At<KeyPolicy>>,
    owner: Option<At<u32>>,
    group: Option<At<u32>>,
    mode: Option<At<u32>>,
    keep: Option<At<usize>>,
    choice: Option<At<Challenge>>,
    per_name: BTreeMap<Identifier, At<Challenge>>,
    deploy: Option<At<Vec<String>>>,
}

impl Partial {
    /// This level's keys, and the upper level's where this one is silent.
    fn over(self, upper: &Self) -> Self {
        // A lower level replaces the whole choice, so an upper one's exceptions do not outlive it.
        let mut per_name = if self.choice.is_some() { BTreeMap::new() } else { upper.per_name.clone() };
        per_name.extend(self.per_name);
        Self {
            ca: self.ca.or_else(|| upper.ca.clone()),
            key_type: self.key_type.or_else(|| upper.key_type.clone()),
            profile: self.profile.or_else(|| upper.profile.clone()),
            key: self.key.or_else(|| upper.key.clone()),
            owner: self.owner.or_else(|| upper.owner.clone()),
            group: self.group.or_else(|| upper.group.clone()),
            mode: self.mode.or_else(|| upper.mode.clone()),
            keep: self.keep.or_else(|| upper.keep.clone()),
            choice: self.choice.or_else(|| upper.choice.clone()),
            per_name,
            deploy: self.deploy.or_else(|| upper.deploy.clone()),
        }
    }
}

impl Reader<'_> {
    fn globals(&self, root: &Section<'_>) -> Globals {
        let span = |at: Option<At<String>>| at.and_then(|at| self.issues.keep(at, |t| parse_span(t).map_err(values::plain)));
        let email = root.string("email").and_then(|at| self.issues.keep(at, |t| values::email(t)));
        let parallel = root.integer("parallel").and_then(|at| self.issues.keep(at, |n| values::within(*n, 1, 64)));
        let proxy = root.string("proxy").and_then(|at| self.issues.keep(at, |t| values::proxy(t)));
        if let Some(at) = &proxy
            && matches!(&at.value, Proxy::Url(url) if url.contains('@'))
            && root.text.source.shared
        {
            self.issues.push(at.issue(
                "a password in a file that its group or others may read",
                Some("chmod 0600 the file, or write proxy = \"env\"".to_owned()),
            ));
        }
        // The loader reads it before this parser runs; here it is only checked.
        let _ = root.path("conf_dir");
        let mut listen_http = Vec::new();
        if let Some(listen) = root.section("listen") {
            let http = listen.strings("http", true);
            if let Some(http) = http.as_ref().filter(|http| http.value.is_empty()) {
                self.issues.push(http.issue("the list is empty", Some("leave the key out to listen on every address".to_owned())));
            }
            for at in http.map(|at| at.value).unwrap_or_default() {
                listen_http.extend(self.issues.keep(at, |t| values::address(t)).map(|at| at.value));
            }
            listen.finish(&["tls"], ABOVE);
        }
        Globals {
            email: email.map(|at| at.value),
            state_dir: root.path("state_dir").map(|at| at.value),
            parallel: parallel.map(|at| at.value),
            lock_wait: span(root.string("lock_wait")).map(|at| at.value),
            deadline: span(root.string("deadline"))
                .and_then(|at| {
                    self.issues.keep(at, |d| if d.is_zero() { Err(values::plain("a run needs some time".to_owned())) } else { Ok(*d) })
                })
                .map(|at| at.value),
            proxy: proxy.map(|at| at.value),
            listen_http,
        }
    }

    fn ca_tables(&mut self, root: &Section<'_>) {
        // `ca` at the root is either a label (a default) or the `[ca.…]` tables: TOML has one key for both.
        let Some(tables) = root.ca_section() else { return };
        for (label, section) in tables.tables() {
            let ca = self.ca_table(&label, &section);
            section.finish(LATER_CA, ABOVE);
            let Some(ca) = ca else { continue };
            if let Some(other) = self.cas.get(&ca.label) {
                let message = format!("`{}` is described at {}:{} already", ca.label, other.origin.file.display(), other.origin.line);
                self.issues.push(label.issue(message, Some("one CA, one table".to_owned())));
                continue;
            }
            if let Some(other) = self.cas.values().find(|o| o.directory == ca.directory) {
                let message = format!("`{}` has the same directory as `{}`", ca.label, other.label);
                self.issues.push(label.issue(message, Some("one CA, one table".to_owned())));
            }
            self.cas.insert(ca.label.clone(), ca);
        }
    }

    fn ca_table(&mut self, label: &At<String>, section: &Section<'_>) -> Option<Ca> {
        let roots = section.path("roots").map(|at| at.value);
        self.files.extend(roots.clone());
        let eab = section.section("eab").and_then(|eab| self.eab(&eab));
        let accept_terms = section.boolean("accept_terms").is_none_or(|at| at.value);
        let http_port = section.integer("http_port").and_then(|at| self.issues.keep(at, |n| values::within(*n, 1, 65_535)));
        let hosts = section.strings("hosts", false).map(|at| at.value).unwrap_or_default();
        let hosts: Vec<At<String>> = hosts.into_iter().filter_map(|at| self.issues.keep(at, |t| values::host(t))).collect();
        let directory = match (section.string("directory"), preset(&label.value)) {
            (Some(at), _) => self.issues.keep(at, |t| values::directory(t))?.value,
            // A preset is valid by its own test.
            (None, Some(url)) => Directory::parse(url).ok()?,
            (None, None) => {
                let meant = closest(&label.value, PRESETS.iter().map(|(l, _)| *l));
                let hint = meant.map_or_else(
                    || "set directory = \"https://…\"".to_owned(),
                    |meant| format!("set directory = \"https://…\", or did you mean [ca.{meant}]?"),
                );
                self.issues.push(label.issue("it has no `directory` and is no preset", Some(hint)));
                return None;
            }
        };
        Some(Ca {
            label: label.value.clone(),
            origin: label.origin.clone(),
            directory,
            roots,
            eab,
            accept_terms,
            hosts: hosts.into_iter().map(|at| at.value).collect(),
            http_port: http_port.map_or(80, |at| at.value),
        })
    }

    fn eab(&mut self, section: &Section<'_>) -> Option<Eab> {
        let kid = section.string("kid");
        let hmac = section.secret("hmac");
        if let Some(at) = &hmac
            && at.value == Secret::Literal(String::new())
        {
            self.issues.push(at.issue("the secret is empty", None));
        }
        for (key, absent) in [("kid", kid.is_none()), ("hmac", hmac.is_none())] {
            if absent && section.origin_of(key).is_none() {
                let issue = Issue {
                    origin: section.origin.clone(),
                    key: Some(section.path.clone()),
                    message: format!("`{key}` is missing"),
                    hint: Some("write eab = { kid = \"…\", hmac = { file = \"…\" } }".to_owned()),
                };
                self.issues.push(issue);
            }
        }
        section.finish(&[], &[]);
        let (kid, hmac) = (kid?, hmac?);
        if let Secret::Literal(_) = hmac.value
            && section.text.source.shared
        {
            let hint = "chmod 0600 the file, or write hmac = { file = \"…\" }, { env = \"…\" } or { credential = \"…\" }";
            self.issues.push(hmac.issue("a secret in a file that its group or others may read", Some(hint.to_owned())));
        }
        if let Secret::File(path) = &hmac.value {
            self.files.push(path.clone());
        }
        Some(Eab { kid: kid.value, hmac: hmac.value })
    }

    /// The keys that a certificate and a root have in common.
    fn partial(&mut self, section: &Section<'_>) -> Partial {
        let key_type = section.string("key_type").and_then(|at| self.issues.keep(at, |t| values::key_type(t)));
        let key = section.string("key").and_then(|at| self.issues.keep(at, |t| values::key_policy(t)));
        let owner = section.string("owner").and_then(|at| self.issues.keep(at, |t| values::account("user", t, self.host.user(t))));
        let group = section.string("group").and_then(|at| self.issues.keep(at, |t| values::account("group", t, self.host.group(t))));
        let keep = section.integer("keep").and_then(|at| self.issues.keep(at, |n| values::within(*n, 1, 1000)));
        let profile = section.string("profile").and_then(|at| self.issues.keep(at, |t| values::profile(t)));
        let deploy = section.strings("deploy", false).and_then(|at| {
            let argv = at.map(|list| list.into_iter().map(|item| item.value).collect::<Vec<_>>());
            self.issues.keep(argv, |argv| values::command(argv))
        });
        Partial {
            ca: self.ca_choice(section),
            key_type,
            profile,
            key,
            owner,
            group,
            mode: section.mode("mode"),
            keep,
            choice: self.choice(section),
            per_name: self.per_name(section),
            deploy,
        }
    }

    fn ca_choice(&mut self, section: &Section<'_>) -> Option<At<String>> {
        if section.ca_section().is_some() {
            return None;
        }
        let list = section.strings("ca", true)?;
        match list.value.as_slice() {
            [one] => Some(one.clone()),
            [] => {
                self.issues.push(list.issue("the list is empty", None));
                None
            }
            [_, second, ..] => {
                let message =
                    format!("a second CA (`{}`) to fall back on is something this version of certctl cannot do yet", second.value);
                self.issues.push(second.issue(message, Some("name one CA".to_owned())));
                None
            }
        }
    }

    fn choice(&self, section: &Section<'_>) -> Option<At<Challenge>> {
        let webroot = section.path("webroot").map(|at| at.map(Challenge::Webroot));
        let standalone = section.boolean("standalone").and_then(|at| {
            if !at.value {
                let hint = Some("leave the key out, or choose another challenge".to_owned());
                self.issues.push(at.issue("only `true` means something", hint));
            }
            at.value.then(|| at.map(|_| Challenge::Standalone { port: 80 }))
        });
        if let (Some(_), Some(second)) = (&webroot, &standalone) {
            self.issues.push(second.issue("both `webroot` and `standalone` are set", Some("choose one".to_owned())));
        }
        webroot.or(standalone)
    }

    fn per_name(&self, section: &Section<'_>) -> BTreeMap<Identifier, At<Challenge>> {
        let mut out = BTreeMap::new();
        let Some(table) = section.section("challenge") else { return out };
        for (name, choice) in table.tables() {
            let identifier = self.issues.keep(name, |t| match t.parse::<Identifier>() {
                Ok(identifier) if out.contains_key(&identifier) => Err(values::plain(format!("`{identifier}` stands here twice"))),
                other => other.map_err(values::plain),
            });
            let chosen = self.choice(&choice);
            choice.finish(LATER_CHALLENGE, &[]);
            if chosen.is_none() {
                let hint = "write { webroot = \"/dir\" } or { standalone = true }".to_owned();
                self.issues.push(Issue {
                    origin: choice.origin.clone(),
                    key: Some(choice.path.clone()),
                    message: "no challenge is chosen".to_owned(),
                    hint: Some(hint),
                });
            }
            if let (Some(identifier), Some(chosen)) = (identifier, chosen) {
                out.insert(identifier.value, chosen);
            }
        }
        out
    }

    fn certificate(&mut self, section: &Section<'_>, defaults: &Partial) -> Option<Certificate> {
        let own = self.partial(section);
        let own_names: Vec<(Identifier, Origin)> = own.per_name.iter().map(|(i, at)| (i.clone(), at.origin.clone())).collect();
        let listed = section.strings("domains", false);
        let name = section.string("name").and_then(|at| self.issues.keep(at, |t| Name::parse(t).map_err(values::plain)));
        section.finish(LATER_CERTIFICATE, GLOBAL_IN_ROOT);
        let missing = |what: &str, hint: String| {
            let key = Some(section.path.clone());
            self.issues.push(Issue { origin: section.origin.clone(), key, message: what.to_owned(), hint: Some(hint) });
        };
        if listed.is_none() && section.origin_of("domains").is_none() {
            missing("it has no `domains`", "write domains = [\"example.com\"]".to_owned());
        }
        let listed = listed?;
        if listed.value.is_empty() && self.issues.0.borrow().iter().all(|i| i.origin != listed.origin) {
            self.issues.push(listed.issue("the list is empty", None));
        }
        let (domains, whole) = self.domains(&listed);
        for (identifier, origin) in own_names {
            if !domains.contains(&identifier) {
                let text = identifier.to_string();
                let names: Vec<String> = domains.iter().map(Identifier::to_string).collect();
                let hint = closest(&text, names.iter().map(String::as_str)).map(|m| format!("did you mean `{m}`?"));
                let key = Some(format!("{}.challenge", section.path));
                self.issues.push(Issue { origin, key, message: format!("`{text}` is not among `domains`"), hint });
            }
        }
        let settings = own.over(defaults);
        let challenges = self.challenges(section, &domains, &settings);
        let name = match name {
            Some(at) => Some(at.value),
            None if section.origin_of("name").is_some() => None,
            None => match domains.first().map(Name::from_identifier)? {
                Ok(name) => Some(name),
                Err(why) => {
                    missing(&why, "set `name`".to_owned());
                    None
                }
            },
        };
        let ca = match &settings.ca {
            Some(at) => self.resolve_ca(at),
            // One that is there and wrong was told already.
            None if section.origin_of("ca").is_some() || self.tried.0 => None,
            None => {
                let hint =
                    if section.text.source.path.as_os_str() == COMMAND_LINE { "add --ca letsencrypt" } else { "set ca = \"letsencrypt\"" };
                missing("no `ca` is named, here or at the root", format!("{hint}; naming a CA accepts its terms"));
                None
            }
        };
        let (name, ca, mut challenges) = (name?, ca?, challenges.filter(|_| whole)?);
        let http_port = self.cas.values().find(|c| c.directory == ca).map_or(80, |ca| ca.http_port);
        for challenge in challenges.values_mut() {
            if let Challenge::Standalone { port } = challenge {
                *port = http_port;
            }
        }
        let private = Access::PRIVATE;
        let (owner, group) = (settings.owner.map(|at| at.value), settings.group.map(|at| at.value));
        // A group that may not read would be no group at all.
        let mode = settings.mode.map_or(if group.is_some() { 0o640 } else { private.mode }, |at| at.value);
        Some(Certificate {
            name,
            request: Request {
                identifiers: domains.iter().cloned().collect(),
                key_type: settings.key_type.map(|at| at.value).unwrap_or_default(),
                profile: settings.profile.map(|at| at.value),
            },
            domains,
            cas: vec![ca],
            challenges,
            key: settings.key.map(|at| at.value).unwrap_or_default(),
            access: Access { owner, group, mode },
            keep: settings.keep.map_or(3, |at| at.value),
            deploy: settings.deploy.map(|at| at.value),
            origin: section.origin.clone(),
        })
    }

    /// The names that are good, and whether all were.
    fn domains(&self, listed: &At<Vec<At<String>>>) -> (Vec<Identifier>, bool) {
        let mut domains: Vec<Identifier> = Vec::new();
        let mut whole = true;
        for at in &listed.value {
            let Some(parsed) = self.issues.keep(at.clone(), |t| t.parse::<Identifier>().map_err(values::plain)) else {
                whole = false;
                continue;
            };
            if domains.contains(&parsed.value) {
                self.issues.push(at.issue(format!("`{}` is listed twice", at.value), Some("remove one".to_owned())));
            } else {
                domains.push(parsed.value);
            }
        }
        for name in &domains {
            if let Some(wildcard) = domains.iter().find(|w| w.covers(name)) {
                let at = listed.value.iter().find(|at| at.value.parse().as_ref() == Ok(name)).unwrap_or(&listed.value[0]);
                let message = format!("`{name}` is covered by `{wildcard}` already");
                self.issues.push(at.issue(message, Some("remove it: CAs refuse both in one certificate".to_owned())));
            }
        }
        if domains.len() > MAX_NAMES {
            let message = format!("{} names; no public CA takes more than {MAX_NAMES} in one certificate", domains.len());
            self.issues.push(listed.issue(message, Some("make several certificates".to_owned())));
        }
        (domains, whole)
    }

    fn challenges(&self, section: &Section<'_>, domains: &[Identifier], settings: &Partial) -> Option<BTreeMap<Identifier, Challenge>> {
        let mut out = BTreeMap::new();
        let mut whole = true;
        for domain in domains {
            if domain.is_wildcard() {
                self.issues.push(Issue {
                    origin: section.origin_of("domains").unwrap_or_else(|| section.origin.clone()),
                    key: Some(format!("{}.domains", section.path)),
                    message: format!("`{domain}`: a wildcard can only be proven by dns-01, which this version of certctl cannot do yet"),
                    hint: Some("list the names that you need".to_owned()),
                });
                whole = false;
                continue;
            }
            match settings.per_name.get(domain).or(settings.choice.as_ref()) {
                Some(chosen) => {
                    out.insert(domain.clone(), chosen.value.clone());
                }
                None => {
                    let tried = self.tried.1 || CHOICES.iter().any(|key| section.origin_of(key).is_some());
                    if whole && !tried {
                        self.issues.push(Issue {
                            origin: section.origin.clone(),
                            key: Some(section.path.clone()),
                            message: format!("no challenge is chosen for `{domain}`"),
                            hint: Some(
                                if section.text.source.path.as_os_str() == COMMAND_LINE {
                                    "add --webroot DIR or --standalone"
                                } else {
                                    "set webroot = \"/var/www/html\" or standalone = true, here or at the root"
                                }
                                .to_owned(),
                            ),
                        });
                    }
                    whole = false;
                }
            }
        }
        whole.then_some(out)
    }

    fn resolve_ca(&mut self, at: &At<String>) -> Option<Directory> {
        if let Some(ca) = self.cas.get(&at.value) {
            return Some(ca.directory.clone());
        }
        let url = match preset(&at.value) {
            Some(url) => url,
            None if at.value.contains("://") => &at.value,
            // Its table is there and broken, which was told already.
            None if self.labels.contains(&at.value) => return None,
            None => {
                let known = PRESETS.iter().map(|(l, _)| *l).chain(self.labels.iter().map(String::as_str));
                let hint = match closest(&at.value, known) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => {
                        let bare = !at.value.is_empty() && at.value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
                        let label = if bare { at.value.clone() } else { format!("{:?}", at.value) };
                        format!("use a preset ({}), a URL, or add [ca.{label}] with its directory", values::presets())
                    }
                };
                self.issues.push(at.issue(format!("no CA is called `{}`", at.value), Some(hint)));
                return None;
            }
        };
        let directory = self.issues.keep(at.clone(), |_| values::directory(url))?.value;
        if let Some(known) = self.cas.values().find(|ca| ca.directory == directory) {
            return Some(known.directory.clone());
        }
        let ca = Ca {
            label: at.value.clone(),
            origin: at.origin.clone(),
            directory: directory.clone(),
            roots: None,
            eab: None,
            accept_terms: true,
            hosts: Vec::new(),
            http_port: 80,
        };
        self.cas.insert(at.value.clone(), ca);
        Some(directory)
    }

    /// What is wrong only when certificates are seen together.
    fn compare(&self, certificates: &[Certificate]) {
        let mut names: BTreeMap<&Name, &Certificate> = BTreeMap::new();
        let mut sets: BTreeMap<_, &Certificate> = BTreeMap::new();
        for certificate in certificates {
            let issue = |message: String, hint: &str| Issue {
                origin: certificate.origin.clone(),
                key: Some("certificate".to_owned()),
                message,
                hint: Some(hint.to_owned()),
            };
            let place = |other: &Certificate| format!("{}:{}", other.origin.file.display(), other.origin.line);
            let set = (&certificate.request.identifiers, certificate.request.key_type);
            if let Some(other) = sets.insert(set, certificate) {
                let message = format!("the same names with the same key type as the certificate at {}", place(other));
                self.issues.push(issue(message, "remove one of them: a CA counts both against one limit"));
            } else if let Some(other) = names.insert(&certificate.name, certificate) {
                let message = format!("`{}` is also the name of the certificate at {}", certificate.name, place(other));
                self.issues.push(issue(message, "set `name` on one of them"));
            }
        }
    }
}

/// Every label that any file gives to a CA, also a broken one.
fn ca_labels(roots: &[Section<'_>]) -> BTreeSet<String> {
    roots.iter().flat_map(|root| root.labels("ca")).collect()
}

/// The keys that choose a challenge.
const CHOICES: &[&str] = &["webroot", "standalone", "challenge"];

/// No public CA takes more (Let's Encrypt: 100 in the default profile).
const MAX_NAMES: usize = 100;

/// Keys that later versions give a meaning to; until then they are refused, not ignored.
const LATER_ROOT: &[&str] = &["dns", "expected_ips", "metrics", "preflight", "resolver", "target", "targets", "tls_alpn"];
const LATER_CA: &[&str] = &["account_shares", "limits", "staging", "tls_port"];
const LATER_CHALLENGE: &[&str] = &["dns", "tls_alpn"];
const LATER_CERTIFICATE: &[&str] = &["dns", "expected_ips", "preflight", "targets", "tls_alpn"];

/// The keys of the whole program, at the root of the main file alone.
const GLOBALS: &[&str] = &["conf_dir", "deadline", "email", "lock_wait", "parallel", "proxy", "state_dir"];
/// The keys that a root gives to its certificates.
const DEFAULTS: &[&str] =
    &["ca", "challenge", "deploy", "group", "keep", "key", "key_type", "mode", "owner", "profile", "standalone", "webroot"];

/// Keys in a wrong place, and what to do with them there.
const GLOBAL_IN_MAIN: Elsewhere<'_> = &[(GLOBALS, "move it to the main config file"), (&["listen"], "move it to the main config file")];
const GLOBAL_IN_ROOT: Elsewhere<'_> = &[(GLOBALS, "move it to the top of the main config file, above the first `[`")];
const ABOVE: Elsewhere<'_> = &[
    (GLOBALS, "move it above the first `[`: below a table it belongs to the table"),
    (DEFAULTS, "move it above the first `[`: below a table it belongs to the table"),
];
const NOT_AT_ROOT: Elsewhere<'_> = &[
    (&["domains", "name"], "put it below a line [[certificate]]"),
    (&["directory", "roots", "eab", "hosts"], "put it below a line [ca.NAME]"),
    (&["http"], "put it below a line [listen]"),
];
