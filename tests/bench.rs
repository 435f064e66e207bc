//! What a run costs: `cargo bench --bench run`.
//!
//! Makes stores of 1, 1,000 and 10,000 certificates and times a run with nothing due beside `/bin/true`,
//! both started in turn by this program; then issues certificates from Pebble in one run, beside lego
//! where it is installed. Medians; every ratio is of one and the same run of this program.
//! `cargo bench --bench run -- noop` or `-- issue` does one part.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a program that measures the world and prints")]

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use certctl::domain::cert::{Chain, Links};
use certctl::domain::inventory::{Generation, Meta};
use certctl::domain::name::{Directory, Identifier};
use certctl::domain::request::{KeyType, Request};
use certctl::domain::time::Time;
use certctl::state::{Event, Facts, Installed, record, render};
use nix::sys::resource::{UsageWho, getrusage};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use support::{Env, Pebble, certificate, poll};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mark, program, rest @ ..] = arguments.as_slice()
        && mark == PEAK
    {
        return peak(program, rest);
    }
    let parts: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|p| p == part);
    if wanted("noop") {
        println!("nothing due, median of {RUNS} runs, beside /bin/true in turn");
        println!("{:>12} {:>10} {:>10} {:>7} {:>12} {:>10}", "certificates", "true", "certctl", "ratio", "full look", "peak RSS");
        for count in [1, 1_000, 10_000] {
            noop(count);
        }
    }
    if wanted("issue") {
        issue(200);
    }
}

fn noop(count: usize) {
    let env = Env::new();
    fill(&env, count);
    // Files younger than two seconds are not relied on: run until they are.
    poll(Duration::from_secs(60), "a conclusion", || {
        env.run(&["renew"]).success().silent();
        env.path("state/quiet").exists().then_some(())
    });
    let (mut idle, mut quiet) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        idle.push(timed(Command::new("/bin/true").stdin(Stdio::null())));
        quiet.push(timed(env.certctl(&["renew"]).stdin(Stdio::null())));
    }
    let (idle, quiet) = (median(idle), median(quiet));
    let rss = peak_of(&env.certctl(&["renew"]));
    // What the run costs whose conclusion the others rely on: everything is read and parsed.
    let looks = (0..5).map(|_| {
        let _ = fs::remove_file(env.path("state/quiet"));
        timed(env.certctl(&["renew"]).stdin(Stdio::null()))
    });
    let look = median(looks.collect());
    let ratio = quiet.as_secs_f64() / idle.as_secs_f64();
    println!("{count:>12} {:>10} {:>10} {ratio:>6.1}x {:>12} {:>7} kB", millis(idle), millis(quiet), millis(look), rss);
}

/// A store of certificates that are not due, as runs would have left it.
fn fill(env: &Env, count: usize) {
    let directory = Directory::parse("https://ca.example/dir").expect("a URL");
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).expect("signed").pem();
    let issuer = Issuer::new(ca, ca_key);
    let mut config = String::new();
    for below in ["state", "live", "accounts"] {
        fs::create_dir_all(env.path("state").join(below)).expect("made");
    }
    for n in 0..count {
        let name = format!("n{n}.example");
        config += &format!("[[certificate]]\nca = \"ca\"\nstandalone = true\ndomains = [\"{name}\", \"www.{name}\"]\n");
        let key = KeyPair::generate().expect("a key");
        let mut leaf = CertificateParams::new(vec![name.clone(), format!("www.{name}")]).expect("names");
        leaf.not_before = time::OffsetDateTime::now_utc() - Duration::from_secs(86_400);
        leaf.not_after = leaf.not_before + Duration::from_secs(90 * 86_400);
        let pem = leaf.signed_by(&key, &issuer).expect("signed").pem() + &ca_pem;
        let chain = Chain::parse(pem.as_bytes(), &key.serialize_pem(), Links::Names).expect("a chain");
        let request = Request {
            identifiers: [&name, &format!("www.{name}")].iter().map(|n| n.parse::<Identifier>().expect("a name")).collect(),
            key_type: KeyType::P256,
            profile: None,
        };
        let leaf = chain.leaf.clone();
        let meta = Meta {
            version: Meta::VERSION,
            issued: leaf.not_before,
            directory: directory.clone(),
            account: "a".into(),
            order: "o".into(),
            ari: None,
            request,
        };
        let dir = env.path("state/certs").join(&name).join("1");
        fs::create_dir_all(&dir).expect("made");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).expect("set");
        let meta = toml::to_string(&meta).expect("TOML");
        for (file, text) in
            [("privkey", &key.serialize_pem()), ("cert", &chain.cert), ("chain", &chain.chain), ("fullchain", &chain.fullchain)]
        {
            write(&dir.join(format!("{file}.pem")), text);
        }
        write(&dir.join("meta.toml"), &meta);
        symlink(format!("../certs/{name}/1"), env.path("state/live").join(&name)).expect("linked");
        let installed = Installed {
            generation: Generation(1),
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            issuer: leaf.issuer,
            fingerprint: leaf.fingerprint,
        };
        let facts = record(Facts::default(), Event::Intent { at: directory.clone(), resumes: false }, Time::from_unix(1_790_000_000));
        let facts = record(facts, Event::Installed { installed }, Time::from_unix(1_790_000_009));
        fs::write(env.path("state/state").join(format!("{name}.toml")), render(&facts)).expect("written");
    }
    config += "[ca.ca]\ndirectory = \"https://ca.example/dir\"\n";
    env.config(&config);
}

fn write(path: &std::path::Path, text: &str) {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("set");
}

/// Certificates from Pebble in one run; lego, which has no run over many, is called once for each.
fn issue(count: usize) {
    let domains: Vec<String> = (0..count).map(|n| format!("n{n}.example")).collect();
    println!("\n{count} certificates from Pebble on loopback (validation without its random sleeps, Retry-After 1 s)");
    let pebble = Pebble::start();
    let env = Env::new().with_deadline(Duration::from_secs(900));
    let tables: String = domains.iter().map(|d| certificate(&[d], "profile = \"default\"")).collect();
    env.config(&pebble.config("", &tables));
    let begun = Instant::now();
    env.run(&["renew"]).success();
    report("certctl (4 at a time)", begun.elapsed(), pebble.requests(), count);
    let Ok(version) = Command::new("lego").arg("--version").output() else { return };
    let pebble = Pebble::start();
    let sample = count.min(20);
    let begun = Instant::now();
    for domain in &domains[..sample] {
        let mut lego = Command::new("lego");
        lego.env("LEGO_CA_CERTIFICATES", pebble.roots()).current_dir(env.dir()).args([
            "--server",
            &pebble.directory(),
            "--accept-tos",
            "--email",
            "a@b.example",
        ]);
        lego.args(["--domains", domain, "--http", "--http.port", &format!("127.0.0.1:{}", pebble.http_port()), "--path", "lego", "run"]);
        env.output(&mut lego).success();
    }
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    report(&format!("{version} (one after another, {sample} of them)"), begun.elapsed(), pebble.requests(), sample);
}

/// The peak memory of one run of a command, measured by a process that has no other child.
fn peak_of(command: &Command) -> String {
    let mut measure = Command::new(std::env::current_exe().expect("this program has a path"));
    measure.arg(PEAK).arg(command.get_program()).args(command.get_args());
    let output = measure.output().expect("started");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn peak(program: &str, arguments: &[String]) {
    let status = Command::new(program).args(arguments).env_clear().status().expect("started");
    assert!(status.success(), "{program}: {status}");
    println!("{}", getrusage(UsageWho::RUSAGE_CHILDREN).map_or(0, |usage| usage.max_rss()));
}

fn report(what: &str, took: Duration, requests: usize, count: usize) {
    let each = took.as_secs_f64() / count as f64;
    println!("{what}: {:.1} s, {each:.2} s each, {requests} requests, {:.1} each", took.as_secs_f64(), requests as f64 / count as f64);
}

fn timed(command: &mut Command) -> Duration {
    let begun = Instant::now();
    let status = command.stdout(Stdio::null()).status().expect("started");
    let took = begun.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    took
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

const RUNS: usize = 201;

/// The first argument of this program when it measures another one for itself.
const PEAK: &str = "peak-of";
