//! `certctl status`: what there is, and what comes next. Reads only; needs no lock and no key.

use crate::cli::{Global, Status};
use crate::domain::outcome::Exit;
use crate::error::Result;
use crate::io::clock::SystemClock;
use crate::io::console::{self, Console};
use crate::ports::{Clock as _, Store as _};
use crate::{report, run};

use super::context::Context;

pub(super) fn run(global: &Global, args: &Status) -> Result<Exit> {
    let Status { name, json } = args;
    let context = Context::open(global)?;
    let selected = context.select(name.as_slice())?;
    let clock = SystemClock::new();
    let orders = context.orders(clock.now());
    let console = Console::new(global.verbose, global.quiet);
    let (mut entries, ok) = context.with_ports(&clock, &console, &selected, |world| {
        let rows = run::plan(&selected, &orders, &world.ports);
        let mut entries = context.entries(&selected, &rows, world);
        for entry in &mut entries {
            let facts = world.ports.journal.facts(&entry.name);
            entry.attempts = facts.attempts;
            entry.deployments = facts.deployments;
        }
        (entries, rows.iter().all(|row| row.exit == Exit::Ok))
    });
    let now = clock.now();
    let text = if *json {
        report::json("status", ok, Exit::Ok, &entries)
    } else if let (Some(_), [entry]) = (name, entries.as_slice()) {
        report::detail(entry, now)
    } else {
        entries.iter_mut().for_each(|e| e.attempts.clear());
        let known = |stray: &String| context.config.certificates.iter().any(|c| c.name.as_str() == stray.as_str());
        let mut strays = context.store.list("live").unwrap_or_default();
        strays.retain(|stray| !known(stray));
        strays.sort();
        report::status(&entries, &strays, now)
    };
    console::data(&text)?;
    Ok(Exit::Ok)
}
