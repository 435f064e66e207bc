//! Issuance from a real CA: what a person with one host sees.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::Duration;

use certctl::domain::cert::{Chain, Links};
use certctl::domain::request::KeyType;

use crate::support::web::Web;
use crate::support::{Env, Pebble, certificate, walk};

/// What is live under a name: read as a server would, and checked as a CA's answer is.
fn live(env: &Env, name: &str) -> Chain {
    let dir = env.path("state/live").join(name);
    let read = |file: &str| fs::read_to_string(dir.join(file)).unwrap_or_else(|e| panic!("{name}/{file}: {e}"));
    let chain =
        Chain::parse(read("fullchain.pem").as_bytes(), &read("privkey.pem"), Links::Signatures).expect("key and chain belong together");
    assert_eq!(read("cert.pem") + &read("chain.pem"), chain.fullchain);
    chain
}

fn names(chain: &Chain) -> BTreeSet<String> {
    chain.leaf.identifiers.iter().map(ToString::to_string).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

#[test]
fn the_first_run_issues_and_the_next_ones_say_and_ask_nothing() {
    let (pebble, env) = (Pebble::start(), Env::new());
    env.config(&pebble.config("", &certificate(&["a.example", "www.a.example"], "")));
    env.run(&["renew"]).success().stderr_has("a.example: issued by").stderr_has("registered at test");
    let chain = live(&env, "a.example");
    assert_eq!(names(&chain), set(&["a.example", "www.a.example"]));
    assert_eq!(chain.leaf.key_type, Some(KeyType::P256));
    let asked = pebble.requests();
    for _ in 0..3 {
        env.run(&["renew"]).success().silent();
    }
    assert_eq!(pebble.requests(), asked, "nothing due, nothing asked");
    env.run(&["status"]).success().stdout_has("valid").stdout_has("renewal from");
    env.run(&["plan"]).success().stdout_has("nothing");
    for path in walk(&env.path("state/certs")).into_iter().chain(walk(&env.path("state/accounts"))) {
        let mode = fs::metadata(&path).expect("there").mode();
        assert_eq!(mode & 0o077, if path.is_dir() { mode & 0o011 } else { 0 }, "{} is {mode:o}", path.display());
    }
}

/// The protocol's honest minimum: nine requests with an existing account, seven for each further certificate of the run.
///
/// The best of three counts: where the machine is so busy that the CA takes longer than our first look, a look is added.
#[test]
fn nine_requests_for_one_and_seven_for_each_further_certificate() {
    let (pebble, env) = (Pebble::start(), Env::new());
    let mut tables = certificate(&["a.example"], "");
    env.config(&pebble.config("", &tables));
    env.run(&["renew"]).success();
    for further in [1, 5] {
        let minimum = 9 + 7 * (further - 1);
        let counts: Vec<usize> = (0..3)
            .scan(minimum + 1, |last, attempt| {
                if *last == minimum {
                    return None;
                }
                let before = pebble.requests();
                for n in 0..further {
                    tables += &certificate(&[&format!("n{n}.of{further}.at{attempt}.example")], "");
                }
                env.config(&pebble.config("", &tables));
                env.run(&["renew"]).success();
                *last = pebble.requests() - before;
                Some(*last)
            })
            .collect();
        assert_eq!(counts.iter().min(), Some(&minimum), "{further} certificates in one run: {counts:?}");
    }
}

#[test]
fn one_ten_and_a_hundred_names_with_nonces_refused_and_nothing_reused() {
    let (pebble, env) = (Pebble::builder().nonce_reject(15).authz_reuse(0).start(), Env::new());
    let mut tables = String::new();
    for count in [1, 10, 100] {
        let names: Vec<String> = (0..count).map(|n| format!("n{n}.c{count}.example")).collect();
        tables += &certificate(&names.iter().map(String::as_str).collect::<Vec<_>>(), "");
    }
    env.config(&pebble.config("", &tables));
    env.run(&["renew"]).success();
    for count in [1, 10, 100] {
        assert_eq!(live(&env, &format!("n0.c{count}.example")).leaf.identifiers.len(), count);
    }
    assert_eq!(pebble.certificate_count(), 3);
}

#[test]
fn a_changed_config_is_issued_once() {
    let (pebble, env) = (Pebble::start(), Env::new());
    let steps: [(&[&str], &str, KeyType, u64); 5] = [
        (&["a.example"], "profile = \"default\"", KeyType::P256, 90),
        (&["a.example", "b.example"], "profile = \"default\"", KeyType::P256, 90),
        (&["b.example"], "name = \"a.example\"\nprofile = \"default\"", KeyType::P256, 90),
        (&["b.example"], "name = \"a.example\"\nprofile = \"default\"\nkey_type = \"rsa2048\"", KeyType::Rsa2048, 90),
        (&["b.example"], "name = \"a.example\"\nkey_type = \"p384\"\nprofile = \"shortlived\"", KeyType::P384, 6),
    ];
    for (n, (domains, keys, key_type, days)) in steps.into_iter().enumerate() {
        env.config(&pebble.config("", &certificate(domains, keys)));
        env.run(&["renew"]).success();
        env.run(&["renew"]).success().silent();
        let chain = live(&env, "a.example");
        assert_eq!((names(&chain), chain.leaf.key_type), (set(domains), Some(key_type)));
        let lifetime = chain.leaf.not_after.since(chain.leaf.not_before).as_secs();
        assert!(lifetime.abs_diff(days * 86_400) < 60, "{lifetime} s");
        assert_eq!(pebble.certificate_count(), n + 1);
    }
}

#[test]
fn the_newest_generations_are_kept_and_a_rotated_key_is_new() {
    let (pebble, env) = (Pebble::start(), Env::new());
    env.config(&pebble.config("", &certificate(&["a.example"], "keep = 2")));
    let mut keys = BTreeSet::new();
    for _ in 0..4 {
        env.run(&["renew", "--force", "a.example"]).success().stderr_has("issued");
        keys.insert(fs::read(env.path("state/live/a.example/privkey.pem")).expect("there"));
    }
    assert_eq!(keys.len(), 4);
    let mut kept: Vec<String> = fs::read_dir(env.path("state/certs/a.example"))
        .expect("there")
        .map(|e| e.expect("readable").file_name().to_string_lossy().into_owned())
        .collect();
    kept.sort();
    assert_eq!(kept, ["3", "4"]);
}

#[test]
fn a_reused_key_stays_until_its_type_changes() {
    let (pebble, env) = (Pebble::start(), Env::new());
    let key = || fs::read(env.path("state/live/a.example/privkey.pem")).expect("there");
    env.config(&pebble.config("", &certificate(&["a.example"], "key = \"reuse\"")));
    env.run(&["renew"]).success();
    let first = key();
    env.run(&["renew", "--force", "a.example"]).success().stderr_has("issued");
    assert_eq!(key(), first);
    env.config(&pebble.config("", &certificate(&["a.example"], "key = \"reuse\"\nkey_type = \"p384\"")));
    env.run(&["renew"]).success();
    assert_ne!(key(), first);
}

#[test]
fn five_issuances_then_one_a_day_whatever_is_forced() {
    let (pebble, env) = (Pebble::start(), Env::new());
    env.config(&pebble.config("", &certificate(&["a.example"], "")));
    for _ in 0..5 {
        env.run(&["renew", "--force", "a.example"]).success().stderr_has("issued");
    }
    env.run(&["renew", "--force", "a.example"]).success().stderr_has("then once a day");
    assert_eq!(pebble.certificate_count(), 5);
}

#[test]
fn an_external_account_binding_from_file_environment_and_credential() {
    let (kid, hmac) = ("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W");
    let pebble = Pebble::builder().eab(kid, hmac).start();
    let env = Env::new();
    let secret = env.path("hmac");
    fs::write(&secret, hmac).expect("written");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("set");
    let config = |eab: &str| {
        let ca = pebble.ca_table("test", eab);
        format!("{}\n{ca}\n[listen]\nhttp = [\"127.0.0.1:{}\"]\n", certificate(&["a.example"], ""), pebble.http_port())
    };
    env.config(&config(""));
    env.run(&["renew"]).code(5).stderr_has("external account binding").stderr_has("hint:");
    env.config(&config(&format!("eab = {{ kid = \"{kid}\", hmac = {{ env = \"NOT_SET\" }} }}")));
    env.run(&["renew"]).code(1).stderr_has("NOT_SET is not set");
    assert_eq!(pebble.orders(), 0);
    for (source, variable) in [
        ("{ file = \"hmac\" }", None),
        ("{ env = \"EAB\" }", Some(("EAB", hmac.to_owned()))),
        ("{ credential = \"hmac\" }", Some(("CREDENTIALS_DIRECTORY", env.dir().display().to_string()))),
    ] {
        let _ = fs::remove_dir_all(env.path("state"));
        env.config(&config(&format!("eab = {{ kid = \"{kid}\", hmac = {source} }}")));
        let mut command = env.certctl(&["renew"]);
        command.envs(variable);
        env.output(&mut command).success().stderr_has("issued");
        live(&env, "a.example");
    }
}

#[test]
fn an_account_is_recovered_by_its_key_and_never_registered_twice() {
    let (pebble, env) = (Pebble::start(), Env::new());
    let account = || {
        let folder = fs::read_dir(env.path("state/accounts")).expect("there").next().expect("one CA").expect("readable").path();
        folder.join("account.toml")
    };
    let url = || fs::read_to_string(account()).expect("there").lines().find(|l| l.starts_with("url")).map(str::to_owned);
    let mut tables = certificate(&["a.example"], "");
    env.config(&pebble.config("email = \"ops@example.com\"", &tables));
    env.run(&["renew"]).success();
    let first = url();
    fs::remove_file(account()).expect("removed");
    tables += &certificate(&["b.example"], "");
    env.config(&pebble.config("email = \"ops@example.com\"", &tables));
    env.run(&["renew"]).success().lacks("registered");
    assert_eq!(url(), first);
    fs::remove_file(account().with_file_name("key.pem")).expect("removed");
    tables += &certificate(&["c.example"], "");
    env.config(&pebble.config("", &tables));
    env.run(&["renew"]).code(1).stderr_has("key.pem is gone").stderr_has("hint: restore the key");
}

#[test]
fn a_webroot_holds_the_answer_and_nothing_afterwards_also_when_it_fails() {
    let (pebble, env) = (Pebble::start(), Env::new());
    let root = env.path("www");
    fs::create_dir(&root).expect("made");
    let web = Web::serve(pebble.http_port(), &root);
    pebble.dns().set_servfail("broken.example");
    let tables = certificate(&["a.example"], "webroot = \"www\"")
        + &certificate(&["b.example", "broken.example"], "webroot = \"www\"")
        + &certificate(&["c.example"], "webroot = \"www\"");
    env.config(&pebble.config("", &tables));
    env.run(&["renew"])
        .code(1)
        .stderr_has("b.example: failed: proving broken.example")
        .stderr_has("a.example: issued")
        .stderr_has("c.example: issued");
    live(&env, "a.example");
    live(&env, "c.example");
    assert!(!env.path("state/live/b.example").exists());
    assert_eq!(walk(&root).iter().filter(|p| p.is_file()).count(), 0, "{:?}", walk(&root));
    drop(web);
}

#[test]
fn an_address_is_an_identifier_too() {
    let (pebble, env) = (Pebble::start(), Env::new());
    env.config(&pebble.config("", &certificate(&["127.0.0.1", "a.example"], "profile = \"shortlived\"")));
    env.run(&["renew"]).success();
    assert_eq!(names(&live(&env, "127.0.0.1")), set(&["127.0.0.1", "a.example"]));
}

#[test]
fn a_deploy_command_runs_once_a_change_and_a_failed_one_again_without_the_ca() {
    let (pebble, env) = (Pebble::start(), Env::new());
    let hook = env.path("hook.sh");
    let script = "#!/bin/sh\necho \"$CERTCTL_NAME $CERTCTL_DOMAINS $RENEWED_LINEAGE\" >> \"$1/ran\"\ncmp -s \"$CERTCTL_FULLCHAIN_PATH\" \"$1/state/live/a.example/fullchain.pem\" || exit 9\ntest -e \"$1/broken\" && { echo words of the hook >&2; exit 7; }\nexit 0\n";
    fs::write(&hook, script).expect("written");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("set");
    let keys = format!("deploy = [{:?}, {:?}]", hook.display().to_string(), env.dir().display().to_string());
    env.config(&pebble.config("", &certificate(&["a.example", "b.example"], &keys)));
    let ran = || fs::read_to_string(env.path("ran")).unwrap_or_default().lines().count();
    env.run(&["renew"]).success();
    env.run(&["renew"]).success().silent();
    assert_eq!(ran(), 1);
    assert!(fs::read_to_string(env.path("ran")).expect("ran").starts_with("a.example a.example b.example /"));

    fs::write(env.path("broken"), "").expect("written");
    env.run(&["renew", "--force", "a.example"]).code(3).stderr_has("exit status 7").stderr_has("words of the hook").stderr_has("issued");
    assert_eq!(ran(), 2);
    // Within the minute it waits, and says so by its code alone.
    env.run(&["renew"]).code(3).silent();
    env.run(&["status", "a.example"]).success().stdout_has("deploy: generation 2 pending, 1 failures");
    assert_eq!(ran(), 2);
    fs::remove_file(env.path("broken")).expect("removed");
    // A person who names it does not wait.
    env.run(&["renew", "a.example"]).success();
    assert_eq!((ran(), pebble.certificate_count()), (3, 2));
    env.run(&["renew"]).success().silent();
}

#[test]
fn owner_group_and_mode_are_kept_and_follow_the_config() {
    let (pebble, env) = (Pebble::start(), Env::new());
    let mode = |path: &str| fs::metadata(env.path(path)).expect("there").mode() & 0o7777;
    let group = fs::metadata(env.dir()).expect("there").gid();
    env.config(&pebble.config("", &certificate(&["a.example"], &format!("group = \"{group}\""))));
    env.run(&["renew"]).success();
    assert_eq!((mode("state/live/a.example/privkey.pem"), mode("state/live/a.example")), (0o640, 0o750));
    env.config(&pebble.config("", &certificate(&["a.example"], "mode = \"0600\"")));
    env.run(&["renew"]).success();
    assert_eq!((mode("state/live/a.example/privkey.pem"), mode("state/live/a.example")), (0o600, 0o700));
    assert_eq!(pebble.certificate_count(), 1);
}

#[test]
fn issue_by_hand_with_and_without_save() {
    let (pebble, env) = (Pebble::start(), Env::new());
    env.config(&pebble.config("", ""));
    env.run(&["issue", "-d", "a.example", "-d", "b.example", "--standalone", "--ca", "test"]).success().stderr_has("nothing renews it");
    assert_eq!(names(&live(&env, "a.example")), set(&["a.example", "b.example"]));
    env.run(&["status"]).success().stdout_has("a.example: in the vault and not in the config");
    env.run(&["issue", "-d", "c.example", "--standalone", "--ca", "test", "--key-type", "p384", "--save"])
        .success()
        .stderr_has("c.example.toml");
    env.run(&["plan"]).success().stdout_has("c.example").stdout_has("nothing");
    let issued = pebble.certificate_count();
    // For a set that is configured it is `renew NAME`: not due, so nothing is issued.
    env.run(&["issue", "-d", "c.example", "--standalone", "--ca", "test"]).success().stderr_has("this is `renew c.example`");
    assert_eq!(pebble.certificate_count(), issued);
    env.run(&["issue", "-d", "c.example", "-d", "x.example", "--standalone", "--ca", "test", "--save", "--name", "c.example"])
        .code(2)
        .stderr_has("c.example");
}

#[test]
fn json_is_one_object_with_a_schema() {
    let (pebble, env) = (Pebble::start(), Env::new());
    env.config(&pebble.config("", &certificate(&["a.example"], "")));
    for args in
        [&["plan", "--json"][..], &["renew", "--json"], &["status", "--json"], &["renew", "--json"], &["renew", "--dry-run", "--json"]]
    {
        let run = env.run(args);
        let value: serde_json::Value = serde_json::from_str(&run.success().stdout).unwrap_or_else(|e| panic!("{args:?}: {e}"));
        assert_eq!(
            (value["schema"].as_str(), value["ok"].as_bool(), value["exit"].as_u64()),
            (Some("certctl/1"), Some(true), Some(0)),
            "{args:?}"
        );
        assert_eq!(value["certificates"][0]["name"], "a.example", "{args:?}");
    }
}

/// Six-day, 45-day and 90-day certificates at their own times, by a clock that is moved for the program.
///
/// Where no profile is named Pebble draws one, so this names all three.
#[test]
fn every_profile_renews_when_it_should() {
    let (pebble, env) = (Pebble::start(), Env::new());
    let tables = certificate(&["a.example"], "profile = \"default\"")
        + &certificate(&["b.example"], "profile = \"tlsserver\"")
        + &certificate(&["c.example"], "profile = \"shortlived\"");
    env.config(&pebble.config("", &tables));
    env.run(&["renew"]).success();
    for (days, due) in [("2", 0), ("3.2", 1), ("29", 1), ("31", 2), ("59", 2), ("61.5", 3), ("100", 3)] {
        let mut command = std::process::Command::new("faketime");
        command
            .args(["-f", &format!("+{days}d")])
            .arg(env!("CARGO_BIN_EXE_certctl"))
            .arg("--config")
            .arg(env.path("certctl.toml"))
            .arg("--state-dir")
            .arg(env.path("state"))
            .arg("plan");
        command.env("TZ", "UTC");
        let plan = env.output(&mut command);
        let ordered = plan.success().stdout.lines().filter(|l| l.contains(" order ")).count();
        assert_eq!(ordered, due, "after {days} days:\n{}", plan.stdout);
    }
}

/// The port belongs to the CA that validates, not to whichever certificate comes first.
#[test]
fn each_ca_is_answered_at_its_own_port() {
    let (pebble, env) = (Pebble::start(), Env::new());
    let ca = pebble.ca_table("test", &format!("http_port = {}", pebble.http_port()));
    let other = "[[certificate]]\nca = \"https://ca.invalid/dir\"\nwebroot = \"www\"\ndomains = [\"b.example\"]\n";
    fs::create_dir(env.path("www")).expect("made");
    env.config(&format!("{other}{}{ca}", certificate(&["a.example"], "")));
    env.run(&["renew"]).code(1).stderr_has("a.example: issued").stderr_has("b.example: failed");
}

#[test]
fn a_dry_run_shows_what_the_run_would_do_and_no_more() {
    let (pebble, env) = (Pebble::start(), Env::new());
    env.config(&pebble.config("", &(certificate(&["a.example"], "") + &certificate(&["b.example"], ""))));
    env.run(&["renew", "--force", "a.example", "--dry-run"]).success().stdout_has("a.example").lacks("b.example");
    assert_eq!(pebble.requests(), 0);
}

#[test]
fn a_resumed_order_is_the_same_order() {
    let (pebble, env) = (Pebble::builder().va_nosleep(false).start(), Env::new());
    env.config(&pebble.config("deadline = \"3s\"", &certificate(&["a.example"], "")));
    // Pebble sleeps for up to five seconds before it validates; a third of three seconds is over before.
    let first = env.run(&["renew"]);
    if first.code == Some(1) {
        first.stderr_has("the next run goes on with it");
    }
    env.config(&pebble.config("", &certificate(&["a.example"], "")));
    env.run(&["renew"]).success();
    live(&env, "a.example");
    assert_eq!((pebble.accepted_orders(), pebble.certificate_count()), (1, 1));
}

#[test]
fn a_lost_link_is_restored_without_the_ca() {
    let (pebble, env) = (Pebble::start(), Env::new());
    env.config(&pebble.config("", &certificate(&["a.example"], "")));
    env.run(&["renew"]).success();
    let asked = pebble.requests();
    fs::remove_file(env.path("state/live/a.example")).expect("removed");
    env.run(&["renew"]).success().stderr_has("restored");
    live(&env, "a.example");
    assert_eq!(pebble.requests(), asked);
}

/// What was issued in one run of many is told by one line each; the rest of them does not wait for a slow one.
#[test]
fn many_certificates_in_one_run() {
    let (pebble, env) = (Pebble::start(), Env::new().with_deadline(Duration::from_secs(300)));
    let tables: String = (0..40).map(|n| certificate(&[&format!("n{n}.example")], "")).collect();
    env.config(&pebble.config("", &tables));
    let run = env.run(&["renew"]);
    assert_eq!(run.success().stderr.lines().filter(|l| l.contains(": issued by")).count(), 40);
    assert_eq!((pebble.certificate_count(), pebble.orders()), (40, 40));
}
