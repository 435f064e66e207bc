//! Pebble, the CA of the tests, with the name server that answers for every name.
//!
//! `sh tests/run.sh` installs both programs. Pebble keeps everything in memory, so each test that starts one has a CA
//! without a past; each has its own ports and its own TLS root too.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{poll, port};

/// A running Pebble and its name server; both are killed when it is dropped.
///
/// A test that fails shows the end of Pebble's log.
pub(crate) struct Pebble {
    options: Builder,
    server: Option<Daemon>,
    dns: Dns,
    ports: Ports,
    roots: PathBuf,
    dir: TempDir,
}

impl Pebble {
    /// Starts one that never rejects a good nonce, never reuses an authorization and validates without delay.
    pub(crate) fn start() -> Self {
        Self::builder().start()
    }

    /// Returns the defaults of [`Self::start`], to be changed.
    pub(crate) fn builder() -> Builder {
        Builder::default()
    }

    /// Returns the URL of the ACME directory.
    pub(crate) fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.ports.acme)
    }

    /// Returns the base URL of the management interface, without a slash at its end.
    pub(crate) fn management(&self) -> String {
        format!("https://localhost:{}", self.ports.management)
    }

    /// Returns the file with the root that Pebble's own TLS certificate chains to; not a root of what it issues.
    pub(crate) fn roots(&self) -> &Path {
        &self.roots
    }

    /// Returns the port of 127.0.0.1 that its validator asks for http-01 tokens.
    pub(crate) fn http_port(&self) -> u16 {
        self.ports.http
    }

    /// Returns the port of 127.0.0.1 that its validator connects to for tls-alpn-01.
    pub(crate) fn tls_port(&self) -> u16 {
        self.ports.tls
    }

    /// Returns the name server that its validator asks.
    pub(crate) fn dns(&self) -> &Dns {
        &self.dns
    }

    /// Returns a whole config for a certctl that uses this CA as `test`: further root keys, and further tables.
    ///
    /// A certificate names its CA itself (see [`certificate`]): in TOML `ca` cannot be a value and a table in one file.
    pub(crate) fn config(&self, root_keys: &str, tables: &str) -> String {
        let ca = self.ca_table("test", "");
        let http = self.http_port();
        format!("{root_keys}\n\n{tables}\n\n{ca}\n[listen]\nhttp = [\"127.0.0.1:{http}\"]\n")
    }

    /// Returns the `[ca.LABEL]` table of a config, with further keys, for a test with more than one CA.
    pub(crate) fn ca_table(&self, label: &str, keys: &str) -> String {
        let (directory, roots) = (self.directory(), self.roots().display());
        format!("[ca.{label}]\ndirectory = \"{directory}\"\nroots = \"{roots}\"\n{keys}\n")
    }

    /// Returns everything that Pebble has printed so far, over restarts.
    ///
    /// It logs a request before it answers it: after a client has ended nothing is missing here.
    pub(crate) fn log(&self) -> String {
        read_log(&self.dir.path().join(LOG))
    }

    /// Counts the ACME requests so far, over restarts: GET, HEAD and POST.
    ///
    /// Counted are those that reach a handler, rejected nonces among them. Not counted are those that Pebble turns
    /// away before: an unknown path, a wrong method, no User-Agent; and none of the management interface.
    pub(crate) fn requests(&self) -> usize {
        self.requests_to("")
    }

    /// Counts the ACME requests to the endpoints whose path contains a text.
    ///
    /// The paths are `/dir`, `/nonce-plz`, `/sign-me-up`, `/my-account/`, `/order-plz`, `/my-order/`,
    /// `/finalize-order/`, `/authZ/`, `/chalZ/`, `/certZ/`, `/revoke-cert`, `/rollover-account-key`, `/list-orderz/`
    /// and `/draft-ietf-acme-ari-03/renewalInfo/`.
    pub(crate) fn requests_to(&self, path: &str) -> usize {
        self.log().lines().filter_map(requested_path).filter(|requested| requested.contains(path)).count()
    }

    /// Counts the new-order requests so far, refused ones among them.
    pub(crate) fn orders(&self) -> usize {
        self.requests_to("/order-plz")
    }

    /// Counts the orders that were accepted so far.
    pub(crate) fn accepted_orders(&self) -> usize {
        self.log().lines().filter(|line| line.contains(" Added order ")).count()
    }

    /// Counts the certificates that were issued so far.
    pub(crate) fn certificate_count(&self) -> usize {
        self.log().lines().filter(|line| line.contains(" Issued certificate serial ")).count()
    }

    /// Stops Pebble, if it runs: connections to it are refused. The name server stays.
    pub(crate) fn stop(&mut self) {
        self.server = None;
    }

    /// Starts Pebble again on the same ports, after a [`Self::stop`] if need be.
    ///
    /// It has forgotten its accounts, orders and certificates, and has a new issuing root.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.launch();
    }

    fn launch(&mut self) {
        let dir = self.dir.path();
        let mut command = Command::new(find("pebble"));
        command
            .current_dir(dir)
            .env_clear()
            .env("PEBBLE_AUTHZREUSE", self.options.authz_reuse.to_string())
            .env("PEBBLE_CHAIN_LENGTH", self.options.chain_length.to_string())
            .env("PEBBLE_WFE_NONCEREJECT", self.options.nonce_reject.to_string())
            .arg("-config")
            .arg(dir.join("pebble.json"))
            .arg("-dnsserver")
            .arg(self.dns.address());
        if self.options.always_valid {
            command.env("PEBBLE_VA_ALWAYS_VALID", "1");
        }
        if self.options.strict {
            command.arg("-strict");
        }
        if self.options.va_nosleep {
            command.env("PEBBLE_VA_NOSLEEP", "1");
        }
        let mut server = Daemon::start(&mut command, dir.join(LOG));
        server.await_port(self.ports.acme);
        server.await_port(self.ports.management);
        self.server = Some(server);
    }
}

impl Drop for Pebble {
    #[expect(clippy::print_stderr, reason = "the test harness shows it beside the failure")]
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_TAIL)..];
            eprintln!("--- the end of Pebble's log\n{}\n---", tail.join("\n"));
        }
    }
}

/// How a Pebble is to behave; what is not said is as in [`Pebble::start`].
pub(crate) struct Builder {
    always_valid: bool,
    authz_reuse: u8,
    chain_length: u8,
    eab: Vec<(String, String)>,
    http_port: Option<u16>,
    nonce_reject: u8,
    profiles: Vec<(String, u64)>,
    retry_after: (u32, u32),
    strict: bool,
    va_nosleep: bool,
}

impl Builder {
    /// Validates every challenge without asking the host; the name server is not asked either.
    pub(crate) fn always_valid(self, always_valid: bool) -> Self {
        Self { always_valid, ..self }
    }

    /// Reuses a valid authorization of the same account in this many of a hundred cases.
    pub(crate) fn authz_reuse(self, percent: u8) -> Self {
        Self { authz_reuse: percent, ..self }
    }

    /// Sets how many intermediates a chain has: 1 by default, and Pebble refuses 0.
    pub(crate) fn chain_length(self, intermediates: u8) -> Self {
        Self { chain_length: intermediates, ..self }
    }

    /// Demands an external account binding and accepts this key, besides those of earlier calls.
    ///
    /// The HMAC key is base64url without padding.
    pub(crate) fn eab(mut self, kid: &str, hmac: &str) -> Self {
        self.eab.push((kid.to_owned(), hmac.to_owned()));
        self
    }

    /// Sets the port that the validator asks for http-01 tokens, so that two CAs can share one listener.
    pub(crate) fn http_port(self, port: u16) -> Self {
        Self { http_port: Some(port), ..self }
    }

    /// Rejects this many of a hundred good nonces.
    pub(crate) fn nonce_reject(self, percent: u8) -> Self {
        Self { nonce_reject: percent, ..self }
    }

    /// Adds a profile, or replaces the validity of one; `default`, `tlsserver` and `shortlived` are there.
    pub(crate) fn profile(mut self, name: &str, validity_s: u64) -> Self {
        self.profiles.retain(|(known, _)| known != name);
        self.profiles.push((name.to_owned(), validity_s));
        self
    }

    /// Sets the Retry-After of an authorization and of an order that is being processed, in seconds; 0 sends none.
    ///
    /// Pebble writes it as seconds or as a date, at random.
    pub(crate) fn retry_after(self, authz_s: u32, order_s: u32) -> Self {
        Self { retry_after: (authz_s, order_s), ..self }
    }

    /// Runs Pebble in its strict mode.
    pub(crate) fn strict(self, strict: bool) -> Self {
        Self { strict, ..self }
    }

    /// Validates without delay, or after up to 5 random seconds.
    pub(crate) fn va_nosleep(self, nosleep: bool) -> Self {
        Self { va_nosleep: nosleep, ..self }
    }

    /// Starts the name server and Pebble, and returns once both answer.
    pub(crate) fn start(self) -> Pebble {
        let dir = TempDir::with_prefix("certctl-pebble-").expect("a temporary directory can be made");
        let ports = Ports { acme: port(), management: port(), http: self.http_port.unwrap_or_else(port), tls: port() };
        let tls = Tls::generate();
        let roots = dir.path().join("roots.pem");
        write(&roots, &tls.roots);
        write(&dir.path().join("cert.pem"), &tls.chain);
        write(&dir.path().join("key.pem"), &tls.key);
        write(&dir.path().join("pebble.json"), &self.config(dir.path(), &ports).to_string());

        let dns = Dns::start(dir.path());
        let mut pebble = Pebble { options: self, server: None, dns, ports, roots, dir };
        pebble.launch();
        pebble
    }

    fn config(&self, dir: &Path, ports: &Ports) -> Value {
        let profiles: serde_json::Map<_, _> = self
            .profiles
            .iter()
            .map(|(name, validity_s)| (name.clone(), json!({"description": format!("The {name} profile"), "validityPeriod": validity_s})))
            .collect();
        let mac_keys: serde_json::Map<_, _> = self.eab.iter().map(|(kid, hmac)| (kid.clone(), json!(hmac))).collect();
        json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{}", ports.acme),
            "managementListenAddress": format!("127.0.0.1:{}", ports.management),
            "certificate": dir.join("cert.pem"),
            "privateKey": dir.join("key.pem"),
            "httpPort": ports.http,
            "tlsPort": ports.tls,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": !self.eab.is_empty(),
            "externalAccountMACKeys": mac_keys,
            "domainBlocklist": ["blocked-domain.example"],
            "retryAfter": {"authz": self.retry_after.0, "order": self.retry_after.1},
            "keyAlgorithm": "ecdsa",
            "profiles": profiles,
        }})
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            always_valid: false,
            authz_reuse: 0,
            chain_length: 1,
            eab: Vec::new(),
            http_port: None,
            nonce_reject: 0,
            profiles: vec![("default".to_owned(), 90 * DAY_S), ("tlsserver".to_owned(), 45 * DAY_S), ("shortlived".to_owned(), 6 * DAY_S)],
            retry_after: (1, 1),
            strict: false,
            va_nosleep: true,
        }
    }
}

/// The name server of a [`Pebble`]: every name has the address 127.0.0.1, no IPv6 address and no other record.
///
/// It knows no NXDOMAIN: a name without an address is an empty answer.
pub(crate) struct Dns {
    server: Daemon,
    port: u16,
    management: u16,
}

impl Dns {
    /// Returns its address, `127.0.0.1:PORT`, for UDP and TCP.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Gives a name these IPv4 addresses instead of 127.0.0.1.
    pub(crate) fn set_a(&self, name: &str, addresses: &[&str]) {
        self.clear_a(name);
        self.post("/add-a", &json!({"host": name, "addresses": addresses}));
    }

    /// Takes a name's own IPv4 addresses away: it has the address that all have.
    pub(crate) fn clear_a(&self, name: &str) {
        self.post("/clear-a", &json!({"host": name}));
    }

    /// Sets the IPv4 address that all names have that have none of their own; none at all when it is empty.
    pub(crate) fn set_default_a(&self, address: &str) {
        self.post("/set-default-ipv4", &json!({"ip": address}));
    }

    /// Gives a name these IPv6 addresses.
    pub(crate) fn set_aaaa(&self, name: &str, addresses: &[&str]) {
        self.post("/clear-aaaa", &json!({"host": name}));
        self.post("/add-aaaa", &json!({"host": name, "addresses": addresses}));
    }

    /// Answers every question about a name with SERVFAIL.
    pub(crate) fn set_servfail(&self, name: &str) {
        self.post("/set-servfail", &json!({"host": name}));
    }

    /// Answers questions about a name again.
    pub(crate) fn clear_servfail(&self, name: &str) {
        self.post("/clear-servfail", &json!({"host": name}));
    }

    /// Adds a TXT record to a name.
    pub(crate) fn add_txt(&self, name: &str, value: &str) {
        self.post("/set-txt", &json!({"host": name, "value": value}));
    }

    /// Removes all TXT records of a name.
    pub(crate) fn clear_txt(&self, name: &str) {
        self.post("/clear-txt", &json!({"host": name}));
    }

    fn start(dir: &Path) -> Self {
        let (port, management) = (port(), port());
        let mut command = Command::new(find("pebble-challtestsrv"));
        command
            .current_dir(dir)
            .env_clear()
            .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""])
            .args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", ""])
            .args(["-dnsserver", &format!("127.0.0.1:{port}")])
            .args(["-management", &format!("127.0.0.1:{management}")]);
        let mut server = Daemon::start(&mut command, dir.join("challtestsrv.log"));
        server.await_port(management);
        server.await_port(port);
        await_udp(port);
        Self { server, port, management }
    }

    #[track_caller]
    fn post(&self, path: &str, body: &Value) {
        let body = body.to_string();
        let length = body.len();
        let request = format!("POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}");
        let mut answer = String::new();
        let sent = TcpStream::connect((Ipv4Addr::LOCALHOST, self.management)).and_then(|mut stream| {
            stream.set_read_timeout(Some(START_DEADLINE))?;
            stream.write_all(request.as_bytes())?;
            stream.read_to_string(&mut answer)
        });
        assert!(
            sent.is_ok() && answer.starts_with("HTTP/1.0 200 "),
            "the name server did not take {body} at {path}: {sent:?}\n{answer}\n{}",
            read_log(&self.server.log)
        );
    }
}

/// A server process that writes to a log file; killed and reaped when it is dropped.
struct Daemon {
    process: Child,
    log: PathBuf,
}

impl Daemon {
    fn start(command: &mut Command, log: PathBuf) -> Self {
        let stdout = open_log(&log);
        let stderr = stdout.try_clone().expect("a file descriptor can be duplicated");
        let process = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { process, log }
    }

    /// Waits until it accepts TCP connections, and panics at once when it ends instead.
    fn await_port(&mut self, port: u16) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        poll(START_DEADLINE, &format!("a server at {address}; its log is {:?}", self.log), || {
            if let Ok(Some(status)) = self.process.try_wait() {
                panic!("a server ended ({status}) before it listened at {address}:\n{}", read_log(&self.log));
            }
            TcpStream::connect(address).ok()
        });
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where a Pebble listens and where its validator connects, all at 127.0.0.1.
struct Ports {
    acme: u16,
    management: u16,
    http: u16,
    tls: u16,
}

/// A TLS certificate for a server at localhost, PEM.
struct Tls {
    roots: String,
    chain: String,
    key: String,
}

impl Tls {
    /// Makes a root and a leaf that are valid whatever a test makes of the clock.
    fn generate() -> Self {
        let issuer = Self::root();
        let key = KeyPair::generate().expect("a key can be made");
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("localhost is a valid name");
        params.distinguished_name.push(DnType::CommonName, "localhost");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&key, &issuer.0).expect("a leaf can be signed");
        Self { roots: issuer.1, chain: leaf.pem(), key: key.serialize_pem() }
    }

    fn root() -> (Issuer<'static, KeyPair>, String) {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "certctl test root");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key).expect("a root can be signed").pem();
        (Issuer::new(params, key), pem)
    }
}

/// Finds a program of the Pebble project where `tests/run.sh` puts or finds it.
fn find(name: &str) -> PathBuf {
    let known = [env::var_os("PEBBLE_BIN_DIR").map(PathBuf::from), Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools"))];
    let path = env::var_os("PATH").unwrap_or_default();
    let go = || {
        let asked = Command::new("go").args(["env", "GOPATH"]).output().ok();
        let told = asked.and_then(|output| String::from_utf8(output.stdout).ok());
        let home = || env::home_dir().map(|home| home.join("go"));
        let gopath = told.map(|path| PathBuf::from(path.trim())).filter(|path| path.is_absolute()).or_else(home);
        gopath.map(|path| path.join("bin"))
    };
    known
        .into_iter()
        .flatten()
        .chain(env::split_paths(&path))
        .chain(std::iter::once_with(go).flatten())
        .map(|dir| dir.join(OsStr::new(name)))
        .find(|program| program.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed: run sh tests/run.sh"))
}

/// Waits until the name server at a port answers a question over UDP.
fn await_udp(port: u16) {
    // Id 1, recursion desired, one question: localhost. IN A.
    const QUESTION: &[u8] = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x09localhost\0\0\x01\0\x01";
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a local UDP port is free");
    socket.connect((Ipv4Addr::LOCALHOST, port)).expect("a UDP socket can be given a peer");
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a read timeout can be set");
    poll(START_DEADLINE, "the name server's answer over UDP", || {
        socket.send(QUESTION).ok()?;
        socket.recv(&mut [0; 512]).ok()
    });
}

/// Reads the path out of a log line like `Pebble 2026/01/31 12:00:00 POST /order-plz -> calling handler()`.
fn requested_path(line: &str) -> Option<&str> {
    let (_, path) = line.strip_suffix(" -> calling handler()")?.rsplit_once(' ')?;
    // The one path of the management interface that is logged in this way.
    (path != "/set-renewal-info/").then_some(path)
}

fn open_log(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap_or_else(|error| panic!("cannot open {path:?}: {error}"))
}

fn read_log(path: &Path) -> String {
    match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("cannot read {path:?}: {error}"),
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("cannot write {path:?}: {error}"));
}

const DAY_S: u64 = 86_400;
const LOG: &str = "pebble.log";
const LOG_TAIL: usize = 40;
const START_DEADLINE: Duration = Duration::from_secs(30);

/// Returns a `[[certificate]]` of the CA `test` for these domains, with further keys; standalone where they choose nothing.
pub(crate) fn certificate(domains: &[&str], keys: &str) -> String {
    let choice = if keys.contains("webroot") || keys.contains("standalone") { "" } else { "standalone = true" };
    format!("[[certificate]]\nca = \"test\"\ndomains = {domains:?}\n{choice}\n{keys}\n")
}
