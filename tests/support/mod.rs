//! What the integration tests stand on: a hermetic place to run the real binary, and a real CA to run it against.
//!
//! Everything is on 127.0.0.1 and in temporary directories, belongs to one test, and is gone when the test ends, also
//! when it panics. Helpers panic with a sentence that says what was expected: a test never handles an error of theirs.
#![expect(dead_code, reason = "a helper may wait for the test that needs it")]

pub(crate) mod env;
pub(crate) mod model;
pub(crate) mod pebble;
pub(crate) mod web;

use std::{
    collections::HashSet,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

pub(crate) use env::Env;
pub(crate) use pebble::{Pebble, certificate};

/// Picks a port of 127.0.0.1 that is free for TCP and UDP and that no other test of this process was given.
///
/// It lies below the range that the kernel takes local ports of outgoing connections from: a port out of that range can
/// be in use again between this call and the `bind` of the server that it is meant for. Chosen at random, so that two
/// test processes are unlikely to meet.
pub(crate) fn port() -> u16 {
    static TAKEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..PORT_TRIES {
        let port = fastrand::u16(PORTS);
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if !taken.contains(&port) && free() {
            taken.insert(port);
            return port;
        }
    }
    panic!("no free port of 127.0.0.1 in {PORTS:?} after {PORT_TRIES} tries");
}

/// Probes until there is an answer, every 10 ms, and panics with `what` when the deadline has passed without one.
#[track_caller]
pub(crate) fn poll<T>(deadline: Duration, what: &str, probe: impl FnMut() -> Option<T>) -> T {
    match try_poll(deadline, probe) {
        Some(answer) => answer,
        None => panic!("waited {deadline:?} in vain for {what}"),
    }
}

/// Probes until there is an answer, every 10 ms, at least once, and gives up when the deadline has passed.
pub(crate) fn try_poll<T>(deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let answer = probe();
        if answer.is_some() || start.elapsed() >= deadline {
            return answer;
        }
        thread::sleep(POLL_STEP);
    }
}

const POLL_STEP: Duration = Duration::from_millis(10);
const PORTS: std::ops::Range<u16> = 10_000..32_000;
const PORT_TRIES: usize = 1_000;

/// Every file and directory below one, whatever it is; links are not followed.
pub(crate) fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.expect("readable").path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found
}
