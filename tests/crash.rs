//! Killed at any instant: nothing lost, nothing issued twice, nothing half-written.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;
use std::time::Duration;

use certctl::domain::cert::{Chain, Links};

use crate::support::{Env, Pebble, certificate, walk};

/// What must hold after every kill, before anything is repaired.
fn check(env: &Env, when: &str) {
    let live = env.path("state/live/a.example");
    if live.exists() {
        let read = |file: &str| fs::read_to_string(live.join(file)).unwrap_or_else(|e| panic!("{when}: {file}: {e}"));
        let chain = Chain::parse(read("fullchain.pem").as_bytes(), &read("privkey.pem"), Links::Signatures);
        assert!(chain.is_ok(), "{when}: {chain:?}");
    }
    for path in walk(&env.path("state")) {
        let secret = path.components().any(|c| c.as_os_str() == "certs" || c.as_os_str() == "accounts");
        if secret && path.is_file() {
            let mode = fs::metadata(&path).expect("there").mode() & 0o7777;
            assert_eq!(mode & !0o600, 0, "{when}: {} is {mode:o}", path.display());
        }
    }
}

fn open_order(env: &Env) -> bool {
    fs::read_to_string(env.path("state/state/a.example.toml")).is_ok_and(|t| t.contains("[order]"))
}

/// After a kill: one clean run, and all is as it should be, with no order placed where one could be resumed.
///
/// `failed` counts the authorizations that failed so far: where the CA looked for an answer after the kill and found
/// nobody, the order is of no more use.
fn recover(env: &Env, pebble: &Pebble, failed: &mut usize, when: &str) {
    check(env, when);
    let (open, live, orders) = (open_order(env), env.path("state/live/a.example").exists(), pebble.orders());
    env.run(&["renew"]).success();
    check(env, when);
    assert!(env.path("state/live/a.example/fullchain.pem").exists(), "{when}: no certificate");
    let (placed, resumable) = (pebble.orders() - orders, open && pebble.log().matches("set INVALID").count() == *failed);
    *failed = pebble.log().matches("set INVALID").count();
    assert!(placed <= usize::from(!resumable && !live), "{when}: {placed} orders, resumable {resumable}, live {live}");
    env.run(&["renew"]).success().silent();
    // Killed after the switch, a run leaves the pending key for the next order to overwrite: it is the live one.
    if let Ok(pending) = fs::read(env.path("state/certs/a.example/pending/privkey.pem")) {
        assert_eq!(pending, fs::read(env.path("state/live/a.example/privkey.pem")).expect("live"), "{when}");
    }
    let temporary: Vec<_> = walk(&env.path("state")).into_iter().filter(|p| p.to_string_lossy().ends_with("certctl-tmp")).collect();
    assert!(temporary.is_empty(), "{when}: {temporary:?}");
}

#[test]
fn killed_at_random_moments() {
    let pebble = Pebble::start();
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut failed = 0;
    for round in 0..25 {
        let env = Env::new();
        env.config(&pebble.config("", &certificate(&["a.example"], "")));
        let mut run = env.spawn(&["renew"]);
        let wait = Duration::from_micros(random.u64(1_000..1_900_000));
        let when = format!("seed {seed}, round {round}, after {wait:?}");
        let begun = std::time::Instant::now();
        while run.is_running() && begun.elapsed() < wait {
            std::thread::yield_now();
        }
        let _ = run.kill();
        recover(&env, &pebble, &mut failed, &when);
    }
    // One certificate for each round, and never two.
    assert_eq!(pebble.certificate_count(), 25, "seed {seed}");
}

/// The same at each effect on the disk: the n-th call of each kind is the last thing that the process does.
#[test]
fn killed_at_every_effect() {
    let pebble = Pebble::start();
    let (mut rounds, mut failed) = (0, 0);
    for call in ["fsync", "rename", "symlink", "unlink"] {
        for n in 1.. {
            let env = Env::new();
            env.config(&pebble.config("parallel = 1", &certificate(&["a.example"], "")));
            let mut command = Command::new("strace");
            command.args(["-f", "-qq", "-o"]).arg(env.path("trace")).arg("-e").arg(format!("trace={call}"));
            command.arg("-e").arg(format!("inject={call}:signal=KILL:when={n}"));
            command.arg(env!("CARGO_BIN_EXE_certctl")).arg("--config").arg(env.path("certctl.toml"));
            command.arg("--state-dir").arg(env.path("state")).arg("renew");
            let run = env.output(&mut command);
            let when = format!("killed at {call} {n}");
            rounds += 1;
            if run.code == Some(0) {
                break;
            }
            recover(&env, &pebble, &mut failed, &when);
            assert!(n < 60, "{when}: it never ends");
        }
    }
    assert!(rounds > 20, "only {rounds} points");
}
