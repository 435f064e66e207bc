//! A directory of its own and an empty environment to run `certctl` in, and what a run has left to say.

use std::{
    fmt::{self, Debug, Display},
    fs::{self, File, Permissions},
    io::{Read, Seek, SeekFrom},
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{self, Command, ExitStatus, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::try_poll;

/// A temporary directory with a config, a state directory and a home, and the binary under test.
///
/// A run sees no variable of the developer's environment, reads nothing from stdin, and is killed at a deadline.
pub(crate) struct Env {
    dir: TempDir,
    deadline: Duration,
}

impl Env {
    /// Makes the directory, with an empty `home` in it and nothing else.
    pub(crate) fn new() -> Self {
        let dir = TempDir::with_prefix("certctl-env-").expect("a temporary directory can be made");
        fs::create_dir(dir.path().join("home")).expect("the home directory can be made");
        Self { dir, deadline: DEADLINE }
    }

    /// Replaces the deadline of each run, 120 s by default.
    pub(crate) fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Returns the directory that everything of this environment is in.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns a path in the directory, whether or not something is there.
    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.dir().join(relative)
    }

    /// Writes the config that [`Self::run`] uses, readable for all, and returns its path.
    pub(crate) fn config(&self, text: &str) -> PathBuf {
        let path = self.path(CONFIG);
        fs::write(&path, text).unwrap_or_else(|error| panic!("cannot write {path:?}: {error}"));
        fs::set_permissions(&path, Permissions::from_mode(0o644))
            .unwrap_or_else(|error| panic!("cannot set the mode of {path:?}: {error}"));
        path
    }

    /// Runs `certctl` with this environment's config and state directory, and waits for its end.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.spawn(args).wait()
    }

    /// Starts `certctl` with this environment's config and state directory.
    #[track_caller]
    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        self.start(&mut self.certctl(args))
    }

    /// Builds the command of [`Self::run`], to be changed and passed to [`Self::output`] or [`Self::start`].
    pub(crate) fn certctl(&self, args: &[&str]) -> Command {
        let mut command = self.command(&[]);
        command.arg("--config").arg(self.path(CONFIG)).arg("--state-dir").arg(self.path(STATE)).args(args);
        command
    }

    /// Builds a command of just these arguments: no config, no state directory.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_certctl"));
        command
            .args(args)
            .current_dir(self.dir())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.path("home"))
            .stdin(Stdio::null());
        command
    }

    /// Runs a command, of whatever program, and waits for its end.
    #[track_caller]
    pub(crate) fn output(&self, command: &mut Command) -> Output {
        self.start(command).wait()
    }

    /// Starts a command, of whatever program, with both its output streams captured.
    ///
    /// They go to unnamed files, not pipes: a run cannot block on them, and a grandchild that keeps them open delays
    /// nothing.
    #[track_caller]
    pub(crate) fn start(&self, command: &mut Command) -> Child {
        let (stdout, stderr) = (Capture::new(), Capture::new());
        let process = command
            .stdout(stdout.writer())
            .stderr(stderr.writer())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let args = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
        Child { process, args, stdout, stderr, deadline: self.deadline }
    }
}

/// A started command; killed and reaped when it is dropped.
#[must_use = "a child is killed when it is dropped: wait for it"]
pub(crate) struct Child {
    process: process::Child,
    args: Vec<String>,
    stdout: Capture,
    stderr: Capture,
    deadline: Duration,
}

impl Child {
    /// Waits for the end, and kills it and panics if that has not come at the deadline, counted from this call.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Output {
        let deadline = self.deadline;
        if let Some(status) = try_poll(deadline, || self.poll()) {
            return self.collect(status);
        }
        let output = self.kill();
        panic!("killed at its deadline of {deadline:?}\n{output}");
    }

    /// Kills it with SIGKILL, if it still runs, and waits for its end.
    pub(crate) fn kill(mut self) -> Output {
        // An error means that it has ended already.
        let _ = self.process.kill();
        let status = self.process.wait().unwrap_or_else(|error| panic!("cannot wait for {:?}: {error}", self.args));
        self.collect(status)
    }

    /// Sends a signal by its name without SIG: `TERM`, `INT`.
    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("/bin/sh").args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &pid]).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot send SIG{name} to {pid}");
    }

    /// Returns the process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Tells whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.poll().is_none()
    }

    fn poll(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().unwrap_or_else(|error| panic!("cannot wait for {:?}: {error}", self.args))
    }

    fn collect(&mut self, status: ExitStatus) -> Output {
        Output {
            args: self.args.clone(),
            code: status.code(),
            signal: status.signal(),
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How a run ended and what it said; bytes that are not UTF-8 show as U+FFFD.
#[must_use = "assert the exit code, at least with .success()"]
#[derive(Clone)]
pub(crate) struct Output {
    pub(crate) args: Vec<String>,
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// Asserts that the exit code is 0.
    #[track_caller]
    pub(crate) fn success(&self) -> &Self {
        self.code(0)
    }

    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn code(&self, expected: i32) -> &Self {
        assert!(self.code == Some(expected), "expected exit code {expected}\n{self}");
        self
    }

    /// Asserts that neither stream has a byte.
    #[track_caller]
    pub(crate) fn silent(&self) -> &Self {
        assert!(self.stdout.is_empty() && self.stderr.is_empty(), "expected no output\n{self}");
        self
    }

    /// Asserts that stdout contains a text.
    #[track_caller]
    pub(crate) fn stdout_has(&self, text: &str) -> &Self {
        assert!(self.stdout.contains(text), "expected {text:?} on stdout\n{self}");
        self
    }

    /// Asserts that stderr contains a text.
    #[track_caller]
    pub(crate) fn stderr_has(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "expected {text:?} on stderr\n{self}");
        self
    }

    /// Asserts that neither stream contains a text.
    #[track_caller]
    pub(crate) fn lacks(&self, text: &str) -> &Self {
        assert!(!self.stdout.contains(text) && !self.stderr.contains(text), "expected no {text:?}\n{self}");
        self
    }
}

impl Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { args, code, signal, stdout, stderr } = self;
        writeln!(f, "args: {args:?}")?;
        match (code, signal) {
            (Some(code), _) => writeln!(f, "exit code: {code}")?,
            (None, Some(signal)) => writeln!(f, "ended by signal {signal}")?,
            (None, None) => writeln!(f, "ended in an unknown way")?,
        }
        write!(f, "--- stdout\n{stdout}\n--- stderr\n{stderr}\n---")
    }
}

impl Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// An unnamed file that a process writes a stream to.
struct Capture(File);

impl Capture {
    fn new() -> Self {
        Self(tempfile::tempfile().expect("a temporary file can be made"))
    }

    fn writer(&self) -> File {
        self.0.try_clone().expect("a file descriptor can be duplicated")
    }

    /// Reads everything; only once the process has ended, for both share one file offset.
    fn text(&mut self) -> String {
        let mut bytes = Vec::new();
        self.0.seek(SeekFrom::Start(0)).and_then(|_| self.0.read_to_end(&mut bytes)).expect("a captured stream can be read");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

const CONFIG: &str = "certctl.toml";
const DEADLINE: Duration = Duration::from_secs(120);
const STATE: &str = "state";
