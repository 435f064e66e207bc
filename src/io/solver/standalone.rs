//! http-01 by a listener of our own.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, Socket, Type};

use crate::domain::problem::Failure;
use crate::ports::Presented;

use super::check_token;

/// One listener for all names of a run: bound when the first answer is presented, gone with the last.
#[derive(Clone, Debug)]
pub struct Standalone {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Where to bind, and whether each of them must succeed.
    addresses: Vec<SocketAddr>,
    explicit: bool,
    state: Mutex<State>,
    answers: Arc<Mutex<BTreeMap<String, String>>>,
}

#[derive(Debug, Default)]
struct State {
    /// Sockets that systemd handed over; taken once, kept for the whole run.
    passed: Option<Vec<TcpListener>>,
    server: Option<Server>,
    users: usize,
}

#[derive(Debug)]
struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Standalone {
    pub(super) fn new(listen: &[SocketAddr], port: u16) -> Self {
        let both = [SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))];
        let addresses = if listen.is_empty() { both.to_vec() } else { listen.to_vec() };
        let shared = Shared { addresses, explicit: !listen.is_empty(), state: Mutex::default(), answers: Arc::default() };
        Self { shared: Arc::new(shared) }
    }

    pub(super) fn ready(&self) -> Result<(), Failure> {
        let mut state = self.shared.state();
        if state.server.is_some() {
            return Ok(());
        }
        // Bound and let go again: whoever else wants the port has it until the CA is asked.
        self.shared.listeners(&mut state).map(drop)
    }

    pub(super) fn present(&self, token: &str, key_authorization: &str) -> Result<Box<dyn Presented>, Failure> {
        check_token(token)?;
        let mut state = self.shared.state();
        if state.server.is_none() {
            let listeners = self.shared.listeners(&mut state)?;
            state.server = Some(serve(listeners, Arc::clone(&self.shared.answers)));
        }
        state.users += 1;
        drop(state);
        self.shared.answers().insert(token.to_owned(), key_authorization.to_owned());
        Ok(Box::new(Answer { token: token.to_owned(), shared: Arc::clone(&self.shared) }))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answers(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What systemd passed, else the addresses of the config, else both families.
    fn listeners(&self, state: &mut State) -> Result<Vec<TcpListener>, Failure> {
        let passed = state.passed.get_or_insert_with(passed_by_systemd);
        if !passed.is_empty() {
            let clones = passed.iter().map(TcpListener::try_clone).collect::<io::Result<Vec<_>>>();
            return clones.map_err(|e| Failure::local("listen", format!("the sockets that systemd passed: {e}")));
        }
        let mut bound = Vec::new();
        let mut refused = None;
        for address in &self.addresses {
            match bind(*address) {
                Ok(listener) => bound.push(listener),
                // By default either family is enough; a host may have IPv6 switched off. A port that is in use is in use.
                Err(error)
                    if !self.explicit && error.kind() != io::ErrorKind::AddrInUse && error.kind() != io::ErrorKind::PermissionDenied =>
                {
                    refused.get_or_insert((address, error));
                }
                Err(error) => return Err(not_bound(*address, &error)),
            }
        }
        match (bound.is_empty(), refused) {
            (true, Some((address, error))) => Err(not_bound(*address, &error)),
            _ => Ok(bound),
        }
    }
}

/// One answer; the listener ends with the last of them.
struct Answer {
    token: String,
    shared: Arc<Shared>,
}

impl Presented for Answer {
    fn leave(self: Box<Self>) {
        // A listener ends with its process.
        drop(self);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.shared.answers().remove(&self.token);
        let mut state = self.shared.state();
        state.users = state.users.saturating_sub(1);
        if state.users == 0 {
            state.server = None;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Joined, so that the port is free when this returns.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Each family has its own socket, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(128)?;
    Ok(socket.into())
}

fn not_bound(address: SocketAddr, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there: use its `webroot`, or set [listen] http to a port that it forwards to",
        io::ErrorKind::PermissionDenied => "ports below 1024 need root, CAP_NET_BIND_SERVICE, or a socket passed by systemd",
        _ => "set [listen] http to addresses that this host has",
    };
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => "it is in use".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    Failure::local("listen", format!("listening on {address}: {why}")).with_hint(hint)
}

/// The listening sockets of a `.socket` unit (sd_listen_fds(3)), if there are any.
fn passed_by_systemd() -> Vec<TcpListener> {
    let mut passed = listenfd::ListenFd::from_env();
    (0..passed.len()).filter_map(|n| passed.take_tcp_listener(n).ok().flatten()).collect()
}

fn serve(listeners: Vec<TcpListener>, answers: Arc<Mutex<BTreeMap<String, String>>>) -> Server {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = std::thread::spawn(move || {
        let busy = Arc::new(AtomicUsize::new(0));
        for listener in &listeners {
            // A client that is gone between poll and accept must not block the others.
            let _ = listener.set_nonblocking(true);
        }
        while !stopped.load(Ordering::SeqCst) {
            let mut ready: Vec<PollFd<'_>> = listeners.iter().map(|l| PollFd::new(l.as_fd(), PollFlags::POLLIN)).collect();
            let _ = poll(&mut ready, PollTimeout::from(TICK));
            for listener in &listeners {
                while !stopped.load(Ordering::SeqCst)
                    && let Ok((stream, _)) = listener.accept()
                {
                    // A flood of connections costs threads only up to here; the CA tries again.
                    if busy.load(Ordering::SeqCst) >= MAX_BUSY {
                        continue;
                    }
                    busy.fetch_add(1, Ordering::SeqCst);
                    let (answers, busy) = (Arc::clone(&answers), Arc::clone(&busy));
                    std::thread::spawn(move || {
                        let _ = answer(stream, &answers);
                        busy.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            }
        }
    });
    Server { stop, thread: Some(thread) }
}

/// Answers one request: the key authorization of a token that is known, nothing else.
fn answer(mut stream: TcpStream, answers: &Mutex<BTreeMap<String, String>>) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = read_head(&mut stream)?;
    let found = request_token(&head).and_then(|(method, token)| {
        let body = answers.lock().unwrap_or_else(PoisonError::into_inner).get(token).cloned();
        body.map(|body| (method, body))
    });
    let text = match found {
        Some((method, body)) => {
            let length = body.len();
            let body = if method == "HEAD" { String::new() } else { body };
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
        }
        None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
    };
    stream.write_all(text.as_bytes())?;
    stream.flush()
}

/// Reads to the end of the request's head, at most [`MAX_HEAD`] bytes and [`PATIENCE`].
fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let begun = Instant::now();
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|w| w == b"\r\n\r\n") && head.len() < MAX_HEAD {
        let rest = PATIENCE.checked_sub(begun.elapsed()).filter(|r| !r.is_zero());
        stream.set_read_timeout(Some(rest.ok_or(io::ErrorKind::TimedOut)?))?;
        match stream.read(&mut buffer)? {
            0 => break,
            read => head.extend_from_slice(&buffer[..read]),
        }
    }
    Ok(head)
}

fn request_token(head: &[u8]) -> Option<(&str, &str)> {
    let line = std::str::from_utf8(head.split(|b| *b == b'\r').next()?).ok()?;
    let mut words = line.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let token = target.strip_prefix("/.well-known/acme-challenge/")?;
    (matches!(method, "GET" | "HEAD") && version.starts_with("HTTP/1.") && words.next().is_none()).then_some((method, token))
}

const MAX_BUSY: usize = 64;
const MAX_HEAD: usize = 8 << 10;
const PATIENCE: Duration = Duration::from_secs(5);
/// Milliseconds between looks at whether to stop.
const TICK: u8 = 25;

#[cfg(test)]
mod tests {
    use super::*;

    fn standalone() -> (Standalone, SocketAddr) {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
        (Standalone::new(&[free], 0), free)
    }

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).expect("connects");
        stream.write_all(request.as_bytes()).expect("sends");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("answers");
        text
    }

    #[test]
    fn it_answers_the_tokens_that_it_was_given_and_is_gone_afterwards() {
        let (standalone, address) = standalone();
        standalone.ready().expect("free");
        assert!(TcpStream::connect(address).is_err(), "nothing listens before there is something to answer");
        let one = standalone.present("one", "one.thumb").expect("bound");
        let two = standalone.present("two", "two.thumb").expect("bound");
        let get = |token: &str| ask(address, &format!("GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        assert!(get("one").ends_with("\r\n\r\none.thumb"), "{}", get("one"));
        assert!(get("three").starts_with("HTTP/1.1 404"));
        for request in [
            "GET / HTTP/1.1\r\n\r\n",
            "POST /.well-known/acme-challenge/one HTTP/1.1\r\n\r\n",
            "\0\0\r\n\r\n",
            "GET /.well-known/acme-challenge/one\r\n\r\n",
        ] {
            assert!(ask(address, request).starts_with("HTTP/1.1 404"), "{request:?}");
        }
        drop(one);
        assert!(get("one").starts_with("HTTP/1.1 404"));
        assert!(get("two").ends_with("two.thumb"));
        drop(two);
        assert!(TcpStream::connect(address).is_err(), "nothing listens after the last answer");
    }

    #[test]
    fn a_silent_client_keeps_nobody_waiting() {
        let (standalone, address) = standalone();
        let _answer = standalone.present("one", "one.thumb").expect("bound");
        let _silent: Vec<TcpStream> = (0..10).map(|_| TcpStream::connect(address).expect("connects")).collect();
        let text = ask(address, "HEAD /.well-known/acme-challenge/one HTTP/1.1\r\n\r\n");
        assert!(text.contains("Content-Length: 9") && text.ends_with("\r\n\r\n"), "{text}");
    }

    #[test]
    fn a_port_in_use_is_told_with_the_next_action() {
        let holder = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = holder.local_addr().expect("bound");
        let failure = Standalone::new(&[address], 0).ready().expect_err("in use");
        assert!(failure.message.contains(&address.to_string()) && failure.message.contains("in use"), "{failure}");
        assert!(failure.hint.is_some());
    }
}
