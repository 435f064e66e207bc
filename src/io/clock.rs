//! The real clock, and what ends a run: signals and its deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::domain::outcome::Exit;
use crate::domain::time::Time;
use crate::ports::Clock;

/// The machine's clock, and the signals that end a run.
pub struct SystemClock {
    stop: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

impl SystemClock {
    /// A clock that no signal stops: for verbs that only read.
    #[must_use]
    pub fn new() -> Self {
        Self { stop: Arc::default(), signal: Arc::default() }
    }

    /// A clock that SIGTERM, SIGINT and SIGHUP stop.
    ///
    /// # Errors
    ///
    /// Where the handlers cannot be set.
    pub fn watching_signals() -> std::io::Result<Self> {
        let clock = Self::new();
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            let number = usize::try_from(signal).unwrap_or(0);
            signal_hook::flag::register_usize(signal, Arc::clone(&clock.signal), number)?;
            signal_hook::flag::register(signal, Arc::clone(&clock.stop))?;
        }
        Ok(clock)
    }

    /// The exit code of the signal that came, if one did.
    #[must_use]
    pub fn signalled(&self) -> Option<Exit> {
        match i32::try_from(self.signal.load(Ordering::SeqCst)) {
            Ok(SIGINT) => Some(Exit::Interrupted),
            Ok(SIGTERM | SIGHUP) => Some(Exit::Terminated),
            Ok(_) | Err(_) => None,
        }
    }

    /// Calls `end` once, from a thread of its own, when the run has not ended by itself: some seconds
    /// after a signal, or after its deadline.
    ///
    /// Every effect is durable before it happens, so a run may end at any instant; this is for a
    /// request or a lookup that cannot be interrupted.
    pub fn guard(&self, deadline: Duration, end: impl FnOnce(Exit) + Send + 'static) {
        let (stop, signal) = (Arc::clone(&self.stop), Arc::clone(&self.signal));
        let watch = Self { stop, signal };
        let begun = Instant::now();
        std::thread::spawn(move || {
            let mut told = None;
            loop {
                std::thread::sleep(TICK);
                if watch.stop.load(Ordering::SeqCst) {
                    told.get_or_insert_with(Instant::now);
                }
                if told.is_some_and(|told: Instant| told.elapsed() > GRACE) {
                    return end(watch.signalled().unwrap_or(Exit::Failed));
                }
                if begun.elapsed() > deadline {
                    // First gently, as a signal would; then as after one.
                    watch.stop.store(true, Ordering::SeqCst);
                }
            }
        });
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Time {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        // A clock before 1970 is wrong in a way that the CA's Date will tell.
        Time::from_millis(since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
    }

    fn sleep_until(&self, instant: Time) {
        // By the steady clock, so that setting the machine's clock back does not make a sleep of hours.
        let wait = instant.since(self.now());
        let begun = Instant::now();
        while !self.stopped() {
            let Some(rest) = wait.checked_sub(begun.elapsed()).filter(|r| !r.is_zero()) else { return };
            std::thread::sleep(rest.min(TICK));
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

const TICK: Duration = Duration::from_millis(100);

/// How long a run that was told to stop may take to end by itself.
const GRACE: Duration = Duration::from_secs(4);
