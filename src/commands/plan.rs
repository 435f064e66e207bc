//! `certctl plan`: the first step of every certificate, the very value that `renew` would execute.

use crate::cli::{Global, Plan};
use crate::domain::outcome::Exit;
use crate::error::Result;
use crate::io::clock::SystemClock;
use crate::io::console::{self, Console};
use crate::ports::Clock as _;
use crate::{report, run};

use super::context::{Context, Selection};

pub(super) fn run(global: &Global, args: &Plan) -> Result<Exit> {
    let Plan { names, json } = args;
    show(global, names, &[], *json, "plan")
}

/// Shows the plan, also for `renew --dry-run`.
pub(super) fn show(global: &Global, names: &[String], forced: &[String], json: bool, command: &str) -> Result<Exit> {
    let context = Context::open(global)?;
    let Selection { certificates: selected, asked, forced } = context.selection(names, forced)?;
    let clock = SystemClock::new();
    let mut orders = context.orders(clock.now());
    (orders.asked, orders.forced) = (asked, forced);
    let console = Console::new(global.verbose, global.quiet);
    let (entries, ok) = context.with_ports(&clock, &console, &selected, |world| {
        let rows = run::plan(&selected, &orders, &world.ports);
        (context.entries(&selected, &rows, world), rows.iter().all(|row| row.exit == Exit::Ok))
    });
    let now = clock.now();
    let text = if json { report::json(command, ok, Exit::Ok, &entries) } else { report::plan(&entries, now, global.verbose) };
    console::data(&text)?;
    Ok(Exit::Ok)
}
