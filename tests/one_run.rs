//! One run at a time: the lock, its waiters, the end of a run.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::{Env, Pebble, certificate, poll, port};

#[test]
fn twenty_copies_at_once_place_one_order_and_all_succeed() {
    let (pebble, env) = (Pebble::start(), Env::new());
    env.config(&pebble.config("", &certificate(&["a.example"], "")));
    let copies: Vec<_> = (0..20).map(|_| env.spawn(&["renew"])).collect();
    for copy in copies {
        copy.wait().success();
    }
    assert_eq!((pebble.orders(), pebble.certificate_count()), (1, 1));
    assert_eq!(pebble.requests_to("sign-me-up"), 1);
}

#[test]
fn twenty_copies_at_once_adopt_one_failure() {
    let (pebble, env) = (Pebble::start(), Env::new());
    pebble.dns().set_servfail("a.example");
    env.config(&pebble.config("", &certificate(&["a.example"], "")));
    let copies: Vec<_> = (0..20).map(|_| env.spawn(&["renew"])).collect();
    for copy in copies {
        copy.wait().code(1);
    }
    assert_eq!(pebble.orders(), 1, "the waiters take the first run's result");
    env.run(&["renew"]).code(1);
    assert_eq!(pebble.orders(), 2, "a run that begins later tries again");
}

/// A CA that takes connections and says nothing.
fn silent_ca() -> (std::net::TcpListener, String) {
    let port = port();
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("bound");
    (listener, format!("https://localhost:{port}/dir"))
}

#[test]
fn a_run_that_waits_in_vain_says_who_holds_the_lock() {
    let (env, (_ca, directory)) = (Env::new(), silent_ca());
    env.config(&format!("lock_wait = \"1s\"\n[[certificate]]\nca = {directory:?}\nstandalone = true\ndomains = [\"a.example\"]\n[listen]\nhttp = [\"127.0.0.1:{}\"]\n", port()));
    let holder = env.spawn(&["renew"]);
    poll(Duration::from_secs(10), "the lock", || fs::read_to_string(env.path("state/lock")).ok().filter(|l| l.contains("pid")));
    env.run(&["renew"]).code(4).stderr_has(&format!("pid {}", holder.pid())).stderr_has("hint:");
    // Looking needs no lock.
    env.run(&["plan"]).success().stdout_has("order");
    env.run(&["status"]).success().stdout_has("MISSING");
    let _ = holder.kill();
    // Released by the kernel: no stale lock, whatever was killed.
    let next = env.spawn(&["renew"]);
    poll(Duration::from_secs(10), "the next holder", || {
        fs::read_to_string(env.path("state/lock")).ok().filter(|l| l.contains(&format!("pid {}", next.pid())))
    });
    let _ = next.kill();
}

#[test]
fn a_signal_ends_a_run_within_seconds_also_when_the_ca_is_silent() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let (env, (_ca, directory)) = (Env::new(), silent_ca());
        env.config(&format!(
            "[[certificate]]\nca = {directory:?}\nstandalone = true\ndomains = [\"a.example\"]\n[listen]\nhttp = [\"127.0.0.1:{}\"]\n",
            port()
        ));
        let run = env.spawn(&["renew"]);
        poll(Duration::from_secs(10), "the attempt", || env.path("state/state/a.example.toml").exists().then_some(()));
        let begun = Instant::now();
        run.signal(signal);
        run.wait().code(code);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        env.run(&["status", "a.example"]).success().stdout_has("attempt");
    }
}

#[test]
fn a_run_ends_at_its_deadline_with_everything_that_it_started() {
    let (env, (_ca, directory)) = (Env::new(), silent_ca());
    env.config(&format!("deadline = \"1s\"\n[[certificate]]\nca = {directory:?}\nstandalone = true\ndomains = [\"a.example\"]\n[listen]\nhttp = [\"127.0.0.1:{}\"]\n", port()));
    let begun = Instant::now();
    env.run(&["renew"]).code(1).stderr_has("a.example: failed").stderr_has("no answer in time");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[test]
fn a_deploy_command_that_hangs_ends_with_the_signal() {
    let (pebble, env) = (Pebble::start(), Env::new());
    let script = format!("echo $$ > {}; sleep 600", env.path("pid").display());
    env.config(&pebble.config("", &certificate(&["a.example"], &format!("deploy = [\"/bin/sh\", \"-c\", {script:?}]"))));
    let run = env.spawn(&["renew"]);
    let pid = poll(Duration::from_secs(20), "the deploy command", || {
        fs::read_to_string(env.path("pid")).ok().and_then(|t| t.trim().parse::<u32>().ok())
    });
    run.signal("TERM");
    run.wait().code(143);
    poll(Duration::from_secs(5), "the end of the deploy command", || {
        let alive = fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| !s.contains(") Z "));
        (!alive).then_some(())
    });
    // It was not the command's fault: it waits for nothing.
    env.run(&["plan"]).success().stdout_has("deploy").stdout_has("now");
}
