//! Bad input of every kind: a clear error, the right exit code, nothing lost.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::support::{Env, Pebble, certificate, port};

const GOOD: &str = "[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\ndomains = [\"a.example\"]\n";

/// The config, the line that must be named, and a part of what must be said.
const BROKEN: [(&str, usize, &str); 48] = [
    ("ca = letsencrypt\n", 1, "not TOML"),
    ("ca = \"letsencrypt\"\n[[certificate]\n", 2, "not TOML"),
    ("a = 1\na = 2\n", 2, "not TOML"),
    ("webrot = \"/tmp\"\n", 1, "did you mean `webroot`?"),
    ("[[certificat]]\ndomains = [\"a.example\"]\n", 1, "did you mean `certificate`?"),
    ("[certificate]\ndomains = [\"a.example\"]\n", 1, "two brackets"),
    ("[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\ndomain = [\"a.example\"]\n", 4, "did you mean `domains`?"),
    ("[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\n", 1, "it has no `domains`"),
    ("[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\ndomains = []\n", 4, "the list is empty"),
    ("[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\ndomains = \"a.example\"\n", 4, "write domains = [\"a.example\"]"),
    ("[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\ndomains = [1]\n", 4, "it holds a number"),
    ("[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\ndomains = [\"a_b.example\"]\n", 4, "a_b.example"),
    ("[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\ndomains = [\"https://a.example\"]\n", 4, "a URL"),
    ("[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\ndomains = [\"a..example\"]\n", 4, "a..example"),
    ("[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\ndomains = [\"192.0.2.300\"]\n", 4, "192.0.2.300"),
    ("[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\ndomains = [\"*.a.example\"]\n", 4, "dns-01"),
    ("[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\ndomains = [\"*.a.example\", \"b.a.example\"]\n", 4, "covered by"),
    ("[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\ndomains = [\"a.example\",\n\"A.example.\"]\n", 5, "listed twice"),
    ("[[certificate]]\nca = \"letsencrypt\"\ndomains = [\"a.example\"]\n", 1, "no challenge is chosen"),
    ("[[certificate]]\nca = \"letsencrypt\"\nstandalone = false\ndomains = [\"a.example\"]\n", 3, "only `true`"),
    (
        "[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\nwebroot = \"/tmp\"\ndomains = [\"a.example\"]\n",
        3,
        "both `webroot` and `standalone`",
    ),
    ("[[certificate]]\nca = \"letsencrypt\"\nwebroot = \"\"\ndomains = [\"a.example\"]\n", 3, "the path is empty"),
    ("[[certificate]]\nca = \"letsencrypt\"\nwebroot = \"~/www\"\ndomains = [\"a.example\"]\n", 3, "not expanded"),
    ("[[certificate]]\nstandalone = true\ndomains = [\"a.example\"]\n", 1, "no `ca` is named"),
    ("[[certificate]]\nca = \"letsencypt\"\nstandalone = true\ndomains = [\"a.example\"]\n", 2, "did you mean `letsencrypt`?"),
    ("[[certificate]]\nca = \"internal\"\nstandalone = true\ndomains = [\"a.example\"]\n", 2, "add [ca.internal]"),
    ("[[certificate]]\nca = \"http://ca.example/dir\"\nstandalone = true\ndomains = [\"a.example\"]\n", 2, "needs https"),
    (
        "[[certificate]]\nca = \"https://api.buypass.com/acme/directory\"\nstandalone = true\ndomains = [\"a.example\"]\n",
        2,
        "Buypass stopped",
    ),
    ("[[certificate]]\nca = [\"letsencrypt\", \"zerossl\"]\nstandalone = true\ndomains = [\"a.example\"]\n", 2, "cannot do yet"),
    (
        "[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\nkey_type = \"p265\"\ndomains = [\"a.example\"]\n",
        4,
        "did you mean `p256`?",
    ),
    ("[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\nkey = \"rotat\"\ndomains = [\"a.example\"]\n", 4, "did you mean `rotate`?"),
    (
        "[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\ngroup = \"no-such-group\"\ndomains = [\"a.example\"]\n",
        4,
        "no group `no-such-group`",
    ),
    (
        "[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\nowner = \"no-such-user\"\ndomains = [\"a.example\"]\n",
        4,
        "no user `no-such-user`",
    ),
    ("[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\nmode = \"0644\"\ndomains = [\"a.example\"]\n", 4, "everyone on this host"),
    ("[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\nmode = \"rw\"\ndomains = [\"a.example\"]\n", 4, "not a file mode"),
    ("[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\nkeep = 0\ndomains = [\"a.example\"]\n", 4, "between 1 and"),
    (
        "[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\ndeploy = \"systemctl reload nginx\"\ndomains = [\"a.example\"]\n",
        4,
        "not a list of strings",
    ),
    (
        "[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\ndeploy = [\"systemctl reload nginx\"]\ndomains = [\"a.example\"]\n",
        4,
        "there is no shell",
    ),
    ("[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\nname = \"../etc\"\ndomains = [\"a.example\"]\n", 4, "begins with"),
    (
        "[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\nexpected_ips = [\"auto\"]\ndomains = [\"a.example\"]\n",
        4,
        "cannot do this yet",
    ),
    ("[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\nparallel = 3\ndomains = [\"a.example\"]\n", 4, "above the first `[`"),
    ("deadline = \"15\"\n", 1, "not a duration"),
    ("parallel = 0\n", 1, "between 1 and"),
    ("email = \"nobody\"\n", 1, "not one e-mail address"),
    ("proxy = \"maybe\"\n", 1, "\"env\", \"none\""),
    ("[listen]\nhttp = [\"80\"]\n", 2, "not an address and port"),
    ("[ca.internal]\nroots = \"ca.pem\"\n", 1, "it has no `directory`"),
    ("[ca.zerossl]\neab = { kid = \"k\", hmac = \"c2VjcmV0\" }\n", 2, "a secret in a file"),
];

#[test]
fn every_broken_config_is_told_with_file_line_and_what_to_do() {
    let env = Env::new();
    for (text, line, said) in BROKEN {
        let path = env.config(text);
        for args in [&["renew"][..], &["config", "check"]] {
            let run = env.run(args);
            run.code(2).stderr_has(&format!("{}:{line}: ", path.display()));
            assert!(run.stderr.contains(said), "{text}\nmust say {said:?} and says\n{}", run.stderr);
            assert!(run.stdout.is_empty());
        }
    }
    assert!(!env.path("state").exists(), "a config that is refused leaves nothing behind");
    env.config(GOOD);
    assert_eq!(env.run(&["config", "check"]).success().stdout, "ok\n");
}

#[test]
fn all_errors_of_all_files_come_at_once() {
    let env = Env::new();
    env.config("webrot = \"/x\"\nparallel = 0\n[[certificate]]\ndomains = [\"a b\", \"c..d\"]\n");
    fs::create_dir(env.path("conf.d")).expect("made");
    fs::write(env.path("conf.d/x.toml"), "email = \"a@b.example\"\n[[certificate]]\nfoo = 1\n").expect("written");
    let run = env.run(&["config", "check"]);
    run.code(2);
    for said in [
        "certctl.toml:1: webrot",
        "certctl.toml:2: parallel",
        "certctl.toml:4: ",
        "`a b`",
        "`c..d`",
        "x.toml:1: email",
        "main config file",
        "x.toml:3: certificate.foo",
    ] {
        assert!(run.stderr.contains(said), "{said} is missing in\n{}", run.stderr);
    }
}

#[test]
fn one_set_twice_is_an_error_and_one_name_in_two_certificates_is_none() {
    let env = Env::new();
    let certificate = |domains: &str, name: &str| {
        format!("[[certificate]]\nca = \"letsencrypt\"\nstandalone = true\nname = \"{name}\"\ndomains = [{domains}]\n")
    };
    let same = certificate("\"a.example\", \"b.example\"", "one") + &certificate("\"B.example\", \"a.example\"", "two");
    env.config(&same);
    env.run(&["config", "check"]).code(2).stderr_has("the same names").stderr_has("certctl.toml:1");
    env.config(&(certificate("\"a.example\"", "one") + &certificate("\"b.example\"", "one")));
    env.run(&["config", "check"]).code(2).stderr_has("`one` is also the name");
    env.config(&(certificate("\"a.example\"", "one") + &certificate("\"a.example\", \"b.example\"", "two")));
    env.run(&["config", "check"]).success();
}

#[test]
fn a_config_that_is_no_file_or_no_text() {
    let env = Env::new();
    env.run(&["renew"]).code(2).stderr_has("there is no config at").stderr_has("hint:");
    fs::create_dir(env.path("certctl.toml")).expect("made");
    env.run(&["renew"]).code(2).stderr_has("certctl.toml: it is not a regular file");
    fs::remove_dir(env.path("certctl.toml")).expect("removed");
    fs::write(env.path("certctl.toml"), b"# x\n\xff\xfe").expect("written");
    env.run(&["renew"]).code(2).stderr_has("certctl.toml:2: it is not UTF-8");
    env.config("");
    env.run(&["renew"]).success().silent();
    env.run(&["renew", "nobody"]).code(2).stderr_has("no certificate is called `nobody`");
    env.run(&["frobnicate"]).code(2);
    env.run(&["renew", "--frob"]).code(2);
}

#[test]
fn config_check_looks_at_the_places_too() {
    let env = Env::new();
    fs::write(env.path("file"), "").expect("written");
    for (keys, said) in [
        ("webroot = \"nowhere\"", "is not a directory"),
        ("webroot = \"file\"", "is not a directory"),
        ("standalone = true\ndeploy = [\"no-such-program\"]", "there is no program"),
    ] {
        env.config(&format!("[[certificate]]\nca = \"letsencrypt\"\n{keys}\ndomains = [\"a.example\"]\n"));
        env.run(&["config", "check"]).code(2).stderr_has(said).stderr_has("certctl.toml:1");
    }
    env.config("[[certificate]]\nca = \"x\"\nstandalone = true\ndomains = [\"a.example\"]\n[ca.x]\ndirectory = \"https://ca.example/\"\nroots = \"nowhere.pem\"\n");
    env.run(&["config", "check"]).code(2).stderr_has("nowhere.pem");
}

/// What is in the way on this machine is found before the CA hears of anything.
#[test]
fn a_host_that_is_not_ready_costs_the_ca_nothing() {
    let (pebble, env) = (Pebble::start(), Env::new());
    let holder = TcpListener::bind(("127.0.0.1", pebble.http_port())).expect("bound");
    env.config(&pebble.config("", &certificate(&["a.example"], "")));
    env.run(&["renew"]).code(1).stderr_has("it is in use").stderr_has("hint:");
    drop(holder);
    env.config(&pebble.config("", &certificate(&["a.example"], "webroot = \"nowhere\"")));
    env.run(&["renew"]).code(1).stderr_has("nowhere: no such file").stderr_has("hint:");
    assert_eq!(pebble.requests(), 0);
}

#[test]
fn a_state_directory_that_cannot_be_used_costs_the_ca_nothing() {
    let (pebble, env) = (Pebble::start(), Env::new());
    env.config(&pebble.config("", &certificate(&["a.example"], "")));
    let run_in = |state: &std::path::Path| {
        let mut command = env.command(&["--config"]);
        command.arg(env.path("certctl.toml")).arg("--state-dir").arg(state).arg("renew");
        env.output(&mut command)
    };
    fs::write(env.path("file"), "").expect("written");
    run_in(&env.path("file")).code(1).stderr_has("hint:");
    run_in(&env.path("file/below")).code(1).stderr_has("hint:");
    run_in(std::path::Path::new("/proc/certctl")).code(1).stderr_has("hint:");
    let open = env.path("open");
    fs::create_dir(&open).expect("made");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).expect("set");
    run_in(&open.join("state")).code(1).stderr_has("everyone may write this directory");
    // Sticky is enough for what lies above, never for the directory itself.
    fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).expect("set");
    run_in(&open).code(1).stderr_has("others may write this directory");
    assert_eq!(pebble.requests(), 0);
}

#[test]
fn a_full_disk_is_told_before_the_ca_is_asked_and_loses_nothing() {
    let (pebble, env) = (Pebble::start(), Env::new());
    env.config(&pebble.config("", &certificate(&["a.example"], "")));
    fs::create_dir(env.path("small")).expect("made");
    for (size, fill) in [("64k", 0), ("512k", 480)] {
        let script = format!(
            "set -e; mount -t tmpfs -o size={size},mode=0755 tmpfs {small}; head -c {fill}k /dev/zero > {small}/fill; set +e; {bin} --config {config} --state-dir {small}/state renew; echo code $?; find {small}/state -size 0 -name '*.pem'",
            small = env.path("small").display(),
            bin = env!("CARGO_BIN_EXE_certctl"),
            config = env.path("certctl.toml").display(),
        );
        let mut command = Command::new("unshare");
        command.args(["-r", "-m", "sh", "-c", &script]);
        let run = env.output(&mut command);
        run.success().stderr_has("hint:");
        assert_eq!(run.stdout.trim(), "code 1", "{run:?}");
    }
    assert_eq!(pebble.orders(), 0);
}

#[test]
fn a_state_of_a_newer_version_is_read_and_never_written() {
    let (pebble, env) = (Pebble::start(), Env::new());
    env.config(&pebble.config("", &certificate(&["a.example"], "")));
    env.run(&["renew"]).success();
    let path = env.path("state/state/a.example.toml");
    let text = fs::read_to_string(&path).expect("there").replace("version 1", "version 2");
    fs::write(&path, &text).expect("written");
    let asked = pebble.requests();
    env.run(&["renew", "--force", "a.example"]).code(1).stderr_has("a newer certctl").stderr_has("hint: upgrade");
    assert_eq!(fs::read_to_string(&path).expect("there"), text);
    assert_eq!(pebble.requests(), asked);
}

#[test]
fn a_damaged_state_is_set_aside_and_allows_one_careful_attempt() {
    let (pebble, env) = (Pebble::start(), Env::new());
    env.config(&pebble.config("", &certificate(&["a.example"], "")));
    env.run(&["renew"]).success();
    let path = env.path("state/state/a.example.toml");
    for (n, damage) in [&b""[..], b"garbage", b"# certctl state, version 1 sha256:00\n"].into_iter().enumerate() {
        fs::write(&path, damage).expect("written");
        env.run(&["renew", "--force", "a.example"]).success().stderr_has("is damaged").stderr_has("issued");
        assert_eq!(fs::read(env.path("state/state/a.example.toml.damaged")).expect("set aside"), damage);
        env.run(&["renew", "--force", "a.example"]).success().stderr_has("then once a day");
        assert_eq!(pebble.certificate_count(), n + 2);
    }
}

#[test]
fn a_certificate_that_was_damaged_is_replaced() {
    let (pebble, env) = (Pebble::start(), Env::new());
    env.config(&pebble.config("", &certificate(&["a.example"], "")));
    let file = |name: &str| env.path("state/live/a.example").join(name);
    let cut = |name: &str| {
        let bytes = fs::read(file(name)).expect("there");
        fs::write(file(name), &bytes[..bytes.len() / 2]).expect("cut");
    };
    env.run(&["renew"]).success();
    cut("privkey.pem");
    env.run(&["renew", "-v"]).success().stderr_has("is damaged").stderr_has("issued");
    // The bundle in the wrong order.
    let (cert, chain) = (fs::read_to_string(file("cert.pem")).expect("there"), fs::read_to_string(file("chain.pem")).expect("there"));
    fs::write(file("fullchain.pem"), chain + &cert).expect("written");
    env.run(&["renew", "-v"]).success().stderr_has("wrong order").stderr_has("issued");
    fs::write(file("cert.pem"), "").expect("written");
    env.run(&["renew", "-v"]).success().stderr_has("cert.pem").stderr_has("issued");
    assert_eq!(pebble.certificate_count(), 4);
}

#[test]
fn what_cannot_be_read_is_no_missing_certificate() {
    let (pebble, env) = (Pebble::start(), Env::new());
    env.config(&pebble.config("", &certificate(&["a.example"], "")));
    env.run(&["renew"]).success();
    let key = env.path("state/live/a.example/privkey.pem");
    fs::remove_file(&key).expect("removed");
    fs::create_dir(&key).expect("made");
    let asked = pebble.requests();
    env.run(&["renew"]).code(1).stderr_has("cannot be read").stderr_has("privkey.pem").stderr_has("hint:");
    assert_eq!(pebble.requests(), asked);
    env.run(&["status"]).success().stdout_has("UNREADABLE");
}

/// A CA of a page or a sentence, over TLS: what a proxy in the way looks like.
struct Liar {
    port: u16,
    roots: std::path::PathBuf,
}

impl Liar {
    fn says(env: &Env, answer: &'static str) -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).expect("signed");
        let issuer = rcgen::Issuer::new(params, key);
        let leaf_key = rcgen::KeyPair::generate().expect("a key");
        let leaf =
            rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name").signed_by(&leaf_key, &issuer).expect("signed");
        let roots = env.path("liar.pem");
        fs::write(&roots, ca.pem()).expect("written");
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], rustls::pki_types::PrivateKeyDer::Pkcs8(leaf_key.serialize_der().into()))
            .expect("a pair");
        let config = std::sync::Arc::new(config);
        let port = port();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("bound");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Ok(connection) = rustls::ServerConnection::new(config.clone()) else { continue };
                let mut tls = rustls::StreamOwned::new(connection, stream);
                let _ = tls.read(&mut [0; 4096]).and_then(|_| tls.write_all(answer.as_bytes())).and_then(|()| tls.flush());
                tls.conn.send_close_notify();
                let _ = tls.flush();
            }
        });
        Self { port, roots }
    }

    fn config(&self) -> String {
        format!(
            "[[certificate]]\nca = \"liar\"\nstandalone = true\ndomains = [\"a.example\"]\n[ca.liar]\ndirectory = \"https://localhost:{}/dir\"\nroots = {:?}\n[listen]\nhttp = [\"127.0.0.1:{}\"]\n",
            self.port,
            self.roots.display().to_string(),
            port()
        )
    }
}

#[test]
fn a_ca_that_answers_something_else() {
    for (answer, said) in [
        ("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html>Welcome to the \u{1b}[31mhotel</html>", "no ACME"),
        (
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\nRetry-After: 120\r\nConnection: close\r\n\r\n<html>busy</html>",
            "status 503",
        ),
        ("HTTP/1.1 301 Moved\r\nLocation: http://169.254.169.254/\r\nConnection: close\r\n\r\n", "status 301"),
        ("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"a\": 1}", "not an ACME directory"),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"newNonce\":\"http://localhost/n\",\"newAccount\":\"https://localhost/a\",\"newOrder\":\"https://localhost/o\"}",
            "not an https URL",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"newNonce\":\"https://elsewhere.example/n\",\"newAccount\":\"https://localhost/a\",\"newOrder\":\"https://localhost/o\"}",
            "elsewhere.example",
        ),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", "not an ACME directory"),
        ("garbage", "talking to"),
        ("", "talking to"),
    ] {
        let env = Env::new();
        env.config(&Liar::says(&env, answer).config());
        let run = env.run(&["renew"]);
        run.code(1).stderr_has("a.example: failed");
        assert!(run.stderr.contains(said), "{answer}\nmust say {said:?} and says\n{}", run.stderr);
        assert!(!run.stderr.contains('\u{1b}'), "an escape sequence of the CA's reaches the terminal");
    }
}

#[test]
fn a_ca_whose_certificate_is_not_trusted() {
    let (pebble, env) = (Pebble::start(), Env::new());
    let table = pebble.ca_table("test", "").replace(&format!("roots = \"{}\"", pebble.roots().display()), "");
    env.config(&format!("{}\n{table}\n[listen]\nhttp = [\"127.0.0.1:{}\"]\n", certificate(&["a.example"], ""), pebble.http_port()));
    env.run(&["renew"]).code(1).stderr_has("not trusted").stderr_has("hint: for a private CA set `roots`");
}

#[test]
fn output_that_nobody_takes_ends_nothing() {
    let (pebble, env) = (Pebble::start(), Env::new());
    env.config(&pebble.config("", &certificate(&["a.example"], "")));
    let script = format!(
        "exec {} --config {} --state-dir {} -v renew --json >/dev/full 2>/dev/full",
        env!("CARGO_BIN_EXE_certctl"),
        env.path("certctl.toml").display(),
        env.path("state").display()
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]);
    // What was done is done; that its report was lost shows in the code.
    env.output(&mut command).code(1);
    assert_eq!(pebble.certificate_count(), 1);
    env.run(&["renew"]).success().silent();
}

#[test]
fn a_fifo_in_the_place_of_any_file_hangs_nothing() {
    let (pebble, env) = (Pebble::start(), Env::new().with_deadline(std::time::Duration::from_secs(30)));
    env.config(&pebble.config("", &certificate(&["a.example"], "")));
    env.run(&["renew"]).success();
    for file in ["last-run", "quiet", "state/a.example.toml"] {
        let path = env.path("state").join(file);
        let _ = fs::remove_file(&path);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("made");
        let _ = env.run(&["renew"]).code;
        fs::remove_file(&path).expect("removed");
    }
}

#[test]
fn a_conf_d_that_leads_nowhere_is_an_error_and_hides_no_other() {
    let env = Env::new();
    env.config("webrot = \"/x\"\n");
    fs::create_dir(env.path("conf.d")).expect("made");
    std::os::unix::fs::symlink("/nonexistent", env.path("conf.d/a.toml")).expect("linked");
    fs::write(env.path("conf.d/b.toml"), b"\xff").expect("written");
    env.run(&["config", "check"]).code(2).stderr_has("a.toml: it leads nowhere").stderr_has("b.toml").stderr_has("webrot");
    fs::remove_dir_all(env.path("conf.d")).expect("removed");
    std::os::unix::fs::symlink("/nonexistent", env.path("conf.d")).expect("linked");
    env.config(GOOD);
    env.run(&["renew"]).code(2).stderr_has("conf.d");
}

/// A certificate that is gone, with the limit of issuances used up, is told once and shows in every run's code.
#[test]
fn nothing_usable_and_nothing_allowed_is_never_a_silent_success() {
    let (pebble, env) = (Pebble::start(), Env::new());
    env.config(&pebble.config("", &certificate(&["a.example"], "")));
    for _ in 0..5 {
        env.run(&["renew", "--force", "a.example"]).success();
    }
    fs::remove_file(env.path("state/live/a.example/privkey.pem")).expect("removed");
    env.run(&["renew"]).code(1).stderr_has("no new certificate for now").stderr_has("hint:");
    crate::support::poll(std::time::Duration::from_secs(20), "a conclusion", || {
        env.run(&["renew"]).code(1);
        env.path("state/quiet").exists().then_some(())
    });
    env.run(&["renew"]).code(1).silent();
    assert_eq!(pebble.certificate_count(), 5);
}

/// A killed run's answers stay visible until the CA has judged them: sweeping them first would fail the order.
#[test]
fn a_killed_runs_answers_stay_until_its_order_ends() {
    let (mut pebble, env) = (Pebble::builder().va_nosleep(false).start(), Env::new());
    fs::create_dir(env.path("www")).expect("made");
    let _web = crate::support::web::Web::serve(pebble.http_port(), &env.path("www"));
    env.config(&pebble.config("", &certificate(&["a.example"], "webroot = \"www\"")));
    let answers =
        || crate::support::walk(&env.path("www")).into_iter().filter(|p| p.is_file() && !p.to_string_lossy().contains("probe")).count();
    let run = env.spawn(&["renew"]);
    crate::support::poll(std::time::Duration::from_secs(20), "an answer that was told to the CA", || {
        (pebble.requests_to("chalZ") > 0 && answers() == 1).then_some(())
    });
    let _ = run.kill();
    pebble.stop();
    env.run(&["renew"]).code(1);
    assert_eq!(answers(), 1, "the CA may still be looking for it");
}

#[test]
fn a_repeated_failure_is_told_once_and_a_new_reason_again() {
    let (pebble, env) = (Pebble::start(), Env::new());
    env.config(&pebble.config("", &certificate(&["a.example"], "")));
    pebble.dns().set_servfail("a.example");
    env.run(&["renew"]).code(1).stderr_has("proving a.example");
    env.run(&["renew"]).code(1).silent();
    env.run(&["renew", "a.example"]).code(1).stderr_has("proving a.example");
    let holder = TcpListener::bind(("127.0.0.1", pebble.http_port())).expect("bound");
    env.run(&["renew"]).code(1).stderr_has("it is in use");
    drop(holder);
    pebble.dns().clear_servfail("a.example");
    env.run(&["renew"]).success().stderr_has("issued");
    // After a success the same trouble is news.
    fs::remove_file(env.path("state/live/a.example/privkey.pem")).expect("removed");
    let holder = TcpListener::bind(("127.0.0.1", pebble.http_port())).expect("bound");
    env.run(&["renew"]).code(1).stderr_has("it is in use");
    env.run(&["renew"]).code(1).silent();
    drop(holder);
}
