//! The world fails at call n, for every n: the real driver over ports in memory.

use certctl::config::Certificate;
use certctl::domain::inventory::Holding;
use certctl::domain::name::Name;
use certctl::domain::outcome::Exit;

use crate::support::model::{Fault, World};

fn certificate(deploy: bool) -> Certificate {
    struct NoHost;
    impl certctl::config::Host for NoHost {
        fn user(&self, _name: &str) -> Option<u32> {
            None
        }
        fn group(&self, _name: &str) -> Option<u32> {
            None
        }
    }
    let hook = if deploy { "deploy = [\"true\"]\n" } else { "" };
    let text =
        format!("[[certificate]]\nca = \"https://ca.example/dir\"\nstandalone = true\ndomains = [\"a.example\", \"b.example\"]\n{hook}");
    let source = certctl::config::Source { path: "/etc/certctl/certctl.toml".into(), text, shared: true };
    certctl::config::parse(&[source], &NoHost).expect("valid").certificates.remove(0)
}

/// After whatever went wrong: one clean run ends it, nothing that was issued is lost or issued twice.
fn converge(world: &World, certificate: &Certificate, when: &str) {
    let resumable = world.store.read("state/a.example.toml").is_some_and(|state| state.contains("[order]"));
    let orders = world.ca.orders();
    let row = world.run(certificate);
    assert_eq!(row.exit, Exit::Ok, "{when}: {row:?}");
    assert!(matches!(row.holding, Holding::Held(_)), "{when}: {row:?}");
    if resumable {
        assert_eq!(world.ca.orders(), orders, "{when}: a second order where one could be resumed");
    }
    assert!(world.ca.orders() <= 2, "{when}: {} orders", world.ca.orders());
    assert_eq!(world.ca.certificates(), 1, "{when}: what was issued is lost or issued twice");
    let again = world.run(certificate);
    assert!(!again.issued && again.failure.is_none(), "{when}: {again:?}");
}

#[test]
fn every_write_fails_once_or_from_then_on() {
    for lasting in [false, true] {
        for at in 1.. {
            let (world, certificate) = (World::new(), certificate(true));
            world.store.fail(Some(Fault { at, lasting }));
            let row = world.run(&certificate);
            let reached = world.store.writes() >= at;
            let when = format!("write {at}, lasting {lasting}");
            // A pair is whole or it is not there.
            assert!(!matches!(row.holding, Holding::Damaged(_)), "{when}: {row:?}");
            world.store.fail(None);
            // Past the wait of a deployment that could not be remembered.
            world.pass(std::time::Duration::from_secs(120));
            converge(&world, &certificate, &when);
            if !reached {
                assert!(at > 10, "only {at} writes");
                break;
            }
        }
    }
}

#[test]
fn every_answer_of_the_ca_is_lost_once() {
    for at in 1.. {
        let (world, certificate) = (World::new(), certificate(false));
        world.ca.break_wire(Some(at));
        let row = world.run(&certificate);
        let reached = world.ca.calls() >= at;
        let when = format!("answer {at} lost");
        assert_eq!(row.failure.is_some(), reached, "{when}: {row:?}");
        world.ca.break_wire(None);
        converge(&world, &certificate, &when);
        if !reached {
            assert!(at > 7, "only {at} calls");
            break;
        }
    }
}

#[test]
fn a_garbled_download_is_fetched_again_and_not_issued_again() {
    let (world, certificate) = (World::new(), certificate(false));
    world.ca.garble();
    assert_eq!(world.run(&certificate).exit, Exit::Failed);
    converge(&world, &certificate, "garbled");
    assert_eq!(world.ca.orders(), 1);
}

#[test]
fn without_memory_no_ca_is_contacted() {
    let (world, certificate) = (World::new(), certificate(false));
    world.store.fail(Some(Fault { at: 1, lasting: true }));
    for _ in 0..3 {
        let row = world.run(&certificate);
        assert_eq!(row.exit, Exit::Failed);
    }
    assert_eq!((world.ca.calls(), world.ca.orders()), (0, 0));
}

#[test]
fn a_deployment_that_fails_is_repeated_and_the_ca_is_not_asked_again() {
    let (world, certificate) = (World::new(), certificate(true));
    *world.deploy_fails.lock().expect("whole") = true;
    assert_eq!(world.run(&certificate).exit, Exit::DeployPending);
    let calls = world.ca.calls();
    for _ in 0..10 {
        world.pass(std::time::Duration::from_secs(3700));
        assert_eq!(world.run(&certificate).exit, Exit::DeployPending);
    }
    *world.deploy_fails.lock().expect("whole") = false;
    world.pass(std::time::Duration::from_secs(3700));
    assert_eq!(world.run(&certificate).exit, Exit::Ok);
    assert_eq!((world.ca.calls(), *world.deployed.lock().expect("whole")), (calls, 1));
    assert_eq!(certificate.name, Name::parse("a.example").expect("valid"));
}
