//! Nothing due: no packet, no word, and every change is noticed.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::support::{Env, Pebble, certificate, poll};

/// An environment whose last run has concluded "nothing until T".
fn quiet(pebble: &Pebble, domains: &[&str]) -> Env {
    let env = Env::new();
    let tables: String = domains.iter().map(|d| certificate(&[d], "")).collect();
    env.config(&pebble.config("", &tables));
    env.run(&["renew"]).success();
    settle(&env);
    env
}

/// Runs until the files are old enough to be relied on, two seconds.
fn settle(env: &Env) {
    poll(Duration::from_secs(20), "a conclusion", || {
        env.run(&["renew"]).success().silent();
        env.path("state/quiet").exists().then_some(())
    });
}

/// What a run does, by its system calls.
fn traced(env: &Env) -> String {
    let out = env.path("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-o"]).arg(&out).arg(env!("CARGO_BIN_EXE_certctl"));
    command.arg("--config").arg(env.path("certctl.toml")).arg("--state-dir").arg(env.path("state")).arg("renew");
    env.output(&mut command).success().silent();
    fs::read_to_string(out).expect("traced")
}

fn reads_config(trace: &str) -> bool {
    // The head of it is read to find the state directory only where the command line does not name one.
    trace.lines().any(|l| l.contains("openat") && l.contains("certctl.toml"))
}

#[test]
fn a_quiet_run_opens_no_socket_and_not_even_the_config() {
    let pebble = Pebble::start();
    let env = quiet(&pebble, &["a.example"]);
    let trace = traced(&env);
    assert!(!trace.contains("socket("), "{trace}");
    assert!(!reads_config(&trace), "{trace}");
    assert!(!trace.contains("fsync"), "a no-op waits for no disk: {trace}");
    fs::remove_file(env.path("state/quiet")).expect("removed");
    let trace = traced(&env);
    assert!(!trace.contains("socket("), "{trace}");
    assert!(reads_config(&trace));
}

#[test]
fn whatever_changes_is_noticed_by_the_very_next_run() {
    let pebble = Pebble::start();
    let env = quiet(&pebble, &["a.example"]);
    let file = |name: &str| env.path("state/live/a.example").join(name);
    type Change<'a> = (&'a str, Box<dyn Fn() + 'a>, &'a str);
    let changes: [Change<'_>; 6] = [
        (
            "a key that is replaced by rename",
            Box::new(|| {
                fs::copy(file("privkey.pem"), env.path("spare")).expect("copied");
                fs::write(file("other"), "not a key").expect("written");
                fs::rename(file("other"), file("privkey.pem")).expect("renamed");
            }),
            "issued",
        ),
        ("a file that is deleted", Box::new(|| fs::remove_file(file("chain.pem")).expect("removed")), "issued"),
        ("a link that is deleted", Box::new(|| fs::remove_file(env.path("state/live/a.example")).expect("removed")), "restored"),
        (
            "a link that leads elsewhere",
            Box::new(|| {
                fs::remove_file(env.path("state/live/a.example")).expect("removed");
                std::os::unix::fs::symlink("../nowhere", env.path("state/live/a.example")).expect("linked");
            }),
            "restored",
        ),
        (
            "an absolute link, as backups leave them",
            Box::new(|| {
                fs::remove_file(env.path("state/live/a.example")).expect("removed");
                std::os::unix::fs::symlink(env.path("state/certs/a.example/1"), env.path("state/live/a.example")).expect("linked");
            }),
            "restored",
        ),
        (
            "a config with one name more",
            Box::new(|| {
                env.config(&pebble.config("", &(certificate(&["a.example", "b.example"], ""))));
            }),
            "issued",
        ),
    ];
    for (what, change, word) in changes {
        settle(&env);
        change();
        let run = env.run(&["renew"]);
        assert!(run.success().stderr.contains(word), "{what}: {run:?}");
    }
}

#[test]
fn a_clock_that_went_back_is_noticed_by_the_very_next_run() {
    let pebble = Pebble::start();
    let env = quiet(&pebble, &["a.example"]);
    let mut command = Command::new("faketime");
    command.args(["-f", "-1h", "strace", "-f", "-o"]).arg(env.path("trace")).arg(env!("CARGO_BIN_EXE_certctl"));
    command.arg("--config").arg(env.path("certctl.toml")).arg("--state-dir").arg(env.path("state")).arg("renew");
    let _ = env.output(&mut command);
    assert!(reads_config(&fs::read_to_string(env.path("trace")).expect("traced")));
}

#[test]
fn a_file_edited_in_place_is_noticed_within_sixteen_runs() {
    let pebble = Pebble::start();
    let env = quiet(&pebble, &["a.example", "b.example", "c.example"]);
    let key = env.path("state/live/b.example/privkey.pem");
    let bytes = fs::read(&key).expect("there");
    fs::write(&key, &bytes[..bytes.len() / 2]).expect("truncated in place");
    let noticed = (1..=16).find(|_| !env.run(&["renew"]).success().stderr.is_empty());
    assert!(noticed.is_some(), "not noticed within 16 runs");
    assert_eq!(pebble.certificate_count(), 4);
}

#[test]
fn what_asks_for_a_look_gets_one() {
    let pebble = Pebble::start();
    let env = quiet(&pebble, &["a.example"]);
    env.run(&["renew", "-v"]).success().stderr_has("nothing to do");
    env.run(&["renew", "--json"]).success().stdout_has("not-due");
    env.run(&["renew", "a.example"]).success();
    env.run(&["renew", "--force", "a.example"]).success().stderr_has("issued");
}
