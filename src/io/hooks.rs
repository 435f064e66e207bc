//! Programs of the user's: argv, a deadline, a process group, capped output, a clean environment.

use std::io::Read;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::config::Certificate;
use crate::domain::inventory::Held;
use crate::domain::name::Identifier;
use crate::domain::problem::Failure;
use crate::domain::step::TargetId;
use crate::domain::time::Time;
use crate::ports::{Clock, Deployer, Vault};

/// Runs `deploy` commands.
pub struct Hooks<'a> {
    /// For the deadline, and to stop when the run is told to.
    pub clock: &'a dyn Clock,
    /// Where the certificates are found.
    pub vault: &'a dyn Vault,
    /// What runs now, for the end of the run.
    pub running: &'a Running,
}

/// The process groups of the programs that run now.
#[derive(Debug, Default)]
pub struct Running(Mutex<Vec<Pid>>);

impl Running {
    /// Kills every program that runs now: the run ends and nothing of it may stay.
    pub fn kill_all(&self) {
        for group in self.groups().drain(..) {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }

    fn groups(&self) -> std::sync::MutexGuard<'_, Vec<Pid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deployer for Hooks<'_> {
    fn deploy(&self, certificate: &Certificate, target: &TargetId, held: &Held, deadline: Time) -> Result<(), Failure> {
        let Some(argv) = certificate.deploy.as_ref().filter(|_| target.0 == TargetId::HOOK) else {
            return Err(Failure::local("target", format!("no target is called `{target}`")));
        };
        let environment = environment(certificate, held, &self.vault.live_path(&certificate.name));
        let now = self.clock.now();
        let limit = deadline.since(now).min(LIMIT);
        run(argv, &environment, limit, self.clock, self.running)
    }
}

/// What a deploy command is told; no secrets, only where they lie.
///
/// Beside our own names those of certbot's deploy hooks, lego's and acme.sh's: most snippets that
/// people have then work as they are.
fn environment(certificate: &Certificate, held: &Held, live: &Path) -> Vec<(String, String)> {
    let file = |name: &str| live.join(name).display().to_string();
    let domains: Vec<String> = certificate.domains.iter().map(Identifier::to_string).collect();
    let first = domains.first().cloned().unwrap_or_default();
    let (key, cert, chain, fullchain) = (file("privkey.pem"), file("cert.pem"), file("chain.pem"), file("fullchain.pem"));
    [
        ("CERTCTL_EVENT", "deploy".to_owned()),
        ("CERTCTL_NAME", certificate.name.to_string()),
        ("CERTCTL_DOMAINS", domains.join(" ")),
        ("CERTCTL_LIVE", live.display().to_string()),
        ("CERTCTL_KEY_PATH", key.clone()),
        ("CERTCTL_CERT_PATH", cert.clone()),
        ("CERTCTL_CHAIN_PATH", chain.clone()),
        ("CERTCTL_FULLCHAIN_PATH", fullchain.clone()),
        ("CERTCTL_NOT_AFTER", held.leaf.not_after.to_string()),
        ("CERTCTL_FINGERPRINT_SHA256", held.leaf.fingerprint.clone()),
        ("RENEWED_LINEAGE", live.display().to_string()),
        ("RENEWED_DOMAINS", domains.join(" ")),
        ("LEGO_CERT_DOMAIN", first.clone()),
        ("LEGO_CERT_PATH", fullchain.clone()),
        ("LEGO_CERT_KEY_PATH", key.clone()),
        ("Le_Domain", first),
        ("CERT_PATH", cert),
        ("CERT_KEY_PATH", key),
        ("CA_CERT_PATH", chain),
        ("CERT_FULLCHAIN_PATH", fullchain),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

fn run(argv: &[String], environment: &[(String, String)], limit: Duration, clock: &dyn Clock, running: &Running) -> Result<(), Failure> {
    let [program, arguments @ ..] = argv else {
        return Err(Failure::local("hook", "the deploy command is empty"));
    };
    let shown = argv.join(" ");
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("LANG", "C.UTF-8")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = command.spawn().map_err(|error| {
        let why = super::disk::with_path(error, Path::new(program));
        Failure::local("hook-missing", format!("starting the deploy command: {why}"))
            .with_hint("give the whole path of a program that is there and executable; there is no shell")
    })?;
    let group = Pid::from_raw(child.id().cast_signed());
    running.groups().push(group);
    let outputs = [child.stdout.take().map(drain), child.stderr.take().map(drain)];
    let begun = Instant::now();
    let ended = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Ok(status),
            Ok(None) => {}
            Err(error) => break Err(format!("waiting for `{shown}`: {error}")),
        }
        if begun.elapsed() >= limit || clock.stopped() {
            end_group(&mut child, group);
            let why = if clock.stopped() {
                "the run was told to stop".to_owned()
            } else {
                format!("it took longer than {} s and was killed", limit.as_secs())
            };
            break Err(format!("`{shown}`: {why}"));
        }
        std::thread::sleep(Duration::from_millis(10).min(limit));
    };
    running.groups().retain(|g| *g != group);
    let words = outputs.into_iter().flatten().map(collect).collect::<Vec<_>>().join("\n");
    let told = |message: String, code: &str| {
        let failure = Failure::local(code, message)
            .with_hint("the certificate is installed; later runs try the command alone again, after 1 min doubling to 1 h");
        let tail = tail(&words);
        if tail.is_empty() { failure } else { failure.with_detail(tail) }
    };
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(told(format!("`{shown}` {}", describe(status)), "hook")),
        Err(why) => Err(told(why, "hook-timeout")),
    }
}

/// Asks the whole group to end, then ends it.
fn end_group(child: &mut std::process::Child, group: Pid) {
    let _ = killpg(group, Signal::SIGTERM);
    let asked = Instant::now();
    while asked.elapsed() < MERCY {
        if let Ok(Some(_)) = child.try_wait() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // Also after the leader has gone: its children may still be there.
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait();
}

/// What a pipe has said last, and a receiver that ends when the pipe does.
struct Output {
    words: Arc<Mutex<Vec<u8>>>,
    open: Receiver<()>,
}

/// Reads a pipe in a thread of its own, to its end or not: a daemon that a command leaves behind
/// keeps it open for ever. Keeps the last [`OUTPUT`] bytes.
fn drain(mut pipe: impl Read + Send + 'static) -> Output {
    let (alive, open) = channel();
    let words = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&words);
    std::thread::spawn(move || {
        let _alive = alive;
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = pipe.read(&mut buffer) {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend_from_slice(&buffer[..read]);
            let surplus = kept.len().saturating_sub(OUTPUT);
            kept.drain(..surplus);
        }
    });
    Output { words, open }
}

/// What a command has said, waiting no longer than a moment for the rest.
fn collect(output: Output) -> String {
    // Nothing is ever sent: this ends when the pipe has, or when the moment is over.
    let _ = output.open.recv_timeout(LINGER);
    String::from_utf8_lossy(&output.words.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}

/// The last lines, which is where programs say why.
fn tail(words: &str) -> String {
    let lines: Vec<&str> = words.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(5)..].join(" | ");
    let skip = last.chars().count().saturating_sub(500);
    last.chars().skip(skip).collect()
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended oddly".to_owned(),
    }
}

/// Where deploy commands find programs, whatever cron or systemd set.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The longest that a deploy command may take.
const LIMIT: Duration = Duration::from_secs(300);
/// Between asking a group to end and ending it.
const MERCY: Duration = Duration::from_secs(2);
/// How long the rest of a command's output is waited for after it has ended.
const LINGER: Duration = Duration::from_millis(300);
const OUTPUT: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::clock::SystemClock;

    fn sh(script: &str, limit: Duration) -> Result<(), Failure> {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned);
        run(&argv, &[("CERTCTL_NAME".into(), "a.example".into())], limit, &SystemClock::new(), &Running::default())
    }

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn success_failure_and_words() {
        assert_eq!(sh("test \"$CERTCTL_NAME\" = a.example && test -z \"$HOME\"", SOON), Ok(()));
        let failure = sh("echo one; echo two >&2; exit 7", SOON).expect_err("fails");
        assert!(failure.message.ends_with("ended with exit status 7"), "{failure}");
        assert!(failure.detail.is_some_and(|d| d.contains("one") && d.contains("two")));
        let failure = sh("kill -9 $$", SOON).expect_err("fails");
        assert!(failure.message.contains("signal 9"), "{failure}");
    }

    #[test]
    fn a_hang_ends_with_its_whole_group() {
        let dir = tempfile::tempdir().expect("a directory");
        let mark = dir.path().join("pid");
        let begun = Instant::now();
        let script = format!("sh -c 'echo $$ > {}; exec sleep 600' & trap '' TERM; sleep 600", mark.display());
        let failure = sh(&script, Duration::from_millis(300)).expect_err("killed");
        assert!(failure.message.contains("killed"), "{failure}");
        assert!(begun.elapsed() < Duration::from_secs(15));
        let grandchild: i32 = std::fs::read_to_string(mark).expect("written").trim().parse().expect("a pid");
        let deadline = Instant::now() + Duration::from_secs(5);
        // A zombie that init has yet to reap is dead too.
        let dead = || std::fs::read_to_string(format!("/proc/{grandchild}/stat")).map_or(true, |s| s.contains(") Z "));
        while !dead() {
            assert!(Instant::now() < deadline, "the grandchild lives");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_daemon_that_keeps_the_pipe_and_a_flood_of_output_end_in_time() {
        let begun = Instant::now();
        assert_eq!(sh("sleep 20 & exit 0", SOON), Ok(()));
        assert!(begun.elapsed() < Duration::from_secs(10));
        let failure = sh("head -c 50000000 /dev/zero | tr '\\0' 'x'; exit 1", SOON).expect_err("fails");
        assert!(failure.detail.is_some_and(|d| d.len() <= 500));
    }

    #[test]
    fn a_missing_program_is_named() {
        let argv = vec!["/nowhere/reload".to_owned()];
        let failure = run(&argv, &[], SOON, &SystemClock::new(), &Running::default()).expect_err("missing");
        assert!(failure.message.contains("/nowhere/reload: no such file"), "{failure}");
    }
}
