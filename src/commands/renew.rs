//! `certctl renew`: makes reality match the config. The main job.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::{Global, Renew};
use crate::config::{Certificate, scan_state_dir};
use crate::domain::name::Name;
use crate::domain::outcome::Exit;
use crate::domain::step::Reason;
use crate::domain::time::Time;
use crate::error::{Error, Kind, Result};
use crate::io::clock::SystemClock;
use crate::io::console::{self, Console};
use crate::io::lock::{Asked, Lock};
use crate::io::{disk, files, host};
use crate::ports::{Clock as _, Progress as _};
use crate::quiet::{self, Premises, Verdict};
use crate::report;
use crate::run::{self, Row};

use super::context::{Context, Selection, World, absolute, config_path};

pub(super) fn run(global: &Global, args: &Renew, console: Console) -> Result<Exit> {
    let Renew { names, force, dry_run, json } = args;
    if *dry_run {
        return super::plan::show(global, names, force, *json, "renew");
    }
    let plain = names.is_empty() && force.is_empty() && !*json && !global.verbose;
    if plain && let Verdict::Still(exit) = still(global) {
        return Ok(exit);
    }
    let context = Context::open(global)?;
    let Selection { certificates, asked, forced } = context.selection(names, force)?;
    work(&context, &certificates, asked, forced, plain, json.then_some("renew"), console)
}

/// Asks an earlier run's conclusion whether anything has changed; before the config is parsed.
fn still(global: &Global) -> Verdict {
    let config = config_path(global);
    let argument = global.state_dir.as_deref();
    let configured = match argument {
        // The command line wins: what the config says does not matter.
        Some(_) => None,
        None => match files::head(&config).and_then(|head| scan_state_dir(&head)) {
            Some(found) => found.map(|found| config.parent().map_or_else(|| PathBuf::from(&found), |base| base.join(&found))),
            None => return Verdict::Look,
        },
    };
    let state_dir = absolute(&host::state_dir(argument, configured.as_deref()));
    // In a directory that others may write, anyone could conclude anything.
    if disk::check_own(&state_dir).is_err() {
        return Verdict::Look;
    }
    let Some(text) = files::read_quiet(&state_dir) else { return Verdict::Look };
    let count = files::count_run(&state_dir);
    quiet::look(&text, &config, &state_dir, SystemClock::new().now(), count, &files::Disk::new(&state_dir))
}

/// Does what is due about these certificates, and reports it.
pub(super) fn work(
    context: &Context,
    selected: &[&Certificate],
    asked: BTreeSet<Name>,
    forced: BTreeSet<Name>,
    whole: bool,
    json: Option<&str>,
    console: Console,
) -> Result<Exit> {
    let clock = SystemClock::watching_signals().map_err(|e| Error::new(Kind::Local, "setting signal handlers").from_source(e))?;
    let started = clock.now();
    let mut orders = context.orders(started);
    (orders.asked, orders.forced) = (asked, forced);
    // What is due is worked out first, unlocked: nothing due waits for nobody.
    let idle = context.with_ports(&clock, &console, selected, |world| {
        let mut rows = run::plan(selected, &orders, &world.ports);
        for (name, failure) in world.journal.unreadable() {
            if let Some(row) = rows.iter_mut().find(|row| row.name == name) {
                (row.exit, row.failure) = (row.exit.max(Exit::Failed), Some(failure));
            }
        }
        let idle = !rows.iter().any(run::is_due) && world.journal.damages().is_empty();
        idle.then(|| {
            tell(&rows, &orders.asked, &console, started);
            if whole {
                conclude(context, &rows, started);
            }
            report(context, selected, rows, world, json, &console)
        })
    });
    if let Some(exit) = idle {
        return Ok(exit);
    }
    let _lock = lock(context, &clock)?;
    // Counted from here: waiting for another run is not working.
    orders.deadline = clock.now().after(context.config.deadline);
    files::remove_quiet(&context.state_dir);
    let _ = files::count_run(&context.state_dir);
    let exit = context.with_ports(&clock, &console, selected, |world| {
        for (name, damage) in world.journal.damages() {
            let text = format!("{name}: its state file is damaged ({}); it is set aside and rebuilt from the vault", damage.why);
            console.warn(&text, None);
        }
        // Planned again: whoever held the lock before may have done it all.
        let mut rows = run::plan(selected, &orders, &world.ports);
        let due: Vec<(&Certificate, &Row)> = selected.iter().copied().zip(&rows).filter(|(_, row)| run::is_due(row)).collect();
        context.store.sweep();
        for (certificate, _) in &due {
            context.store.sweep_certificate(certificate.name.as_str());
        }
        guard(context, &clock, world, &console);
        let done = run::drive_all(&due, &orders, &world.ports);
        console.done();
        tell(&rows.iter().filter(|r| !run::is_due(r)).cloned().collect::<Vec<_>>(), &orders.asked, &console, started);
        let mut done: BTreeMap<Name, Row> = done.into_iter().map(|row| (row.name.clone(), row)).collect();
        for place in &mut rows {
            if let Some(row) = done.remove(&place.name) {
                *place = row;
            }
        }
        let late = rows.iter().filter(|r| r.decision.reason == Reason::DeadlinePassed).count();
        if late > 0 && clock.signalled().is_none() {
            console.warn(&format!("the run's time is up: {late} left, the next run goes on"), None);
        }
        report(context, selected, rows, world, json, &console)
    });
    Ok(clock.signalled().unwrap_or(exit))
}

/// The lock, once it is ours.
fn lock(context: &Context, clock: &SystemClock) -> Result<Lock> {
    let unusable = |error: io::Error| {
        Error::new(Kind::Local, format!("the state directory cannot be used: {error}"))
            .hint("without memory no CA is contacted; make it writable for this user and for nobody else, or name another with `state_dir`")
    };
    context.store.prepare().map_err(unusable)?;
    match Lock::wait(&context.state_dir, clock, context.config.lock_wait).map_err(unusable)? {
        Asked::Ours(lock, _waited) => Ok(lock),
        Asked::Held(holder) => Err(match clock.signalled() {
            Some(Exit::Interrupted) => Error::new(Kind::Interrupted, "interrupted while waiting for another run"),
            Some(_) => Error::new(Kind::Terminated, "ended while waiting for another run"),
            None => Error::new(Kind::Locked, format!("another run holds the lock {} ({holder})", context.state_dir.join("lock").display()))
                .hint("wait for it, or end it: the lock is free as soon as its process is gone"),
        }),
    }
}

/// Ends the process when the run does not end by itself after a signal or its deadline.
fn guard(context: &Context, clock: &SystemClock, world: &World<'_>, console: &Console) {
    let (running, solver) = (Arc::clone(&world.running), Arc::clone(&world.solver));
    let console = *console;
    clock.guard(context.config.deadline + Duration::from_secs(1), move |exit| {
        if exit == Exit::Failed {
            console.done();
            console.warn(
                "the run's time is up and it did not end by itself: it is ended; the next run goes on",
                Some("something that cannot be interrupted hung; `certctl status` shows what was begun"),
            );
        }
        running.kill_all();
        solver.withdraw_all();
        host::exit(exit.code());
    });
}

/// Tells what certificates that were not worked on have to say: failures, and waits that a person asked about.
fn tell(rows: &[Row], asked: &BTreeSet<Name>, console: &Console, now: Time) {
    for row in rows {
        match (&row.failure, report::not_now(&row.decision, now)) {
            (Some(failure), _) => {
                console.failed(&row.name, failure, matches!(row.decision.reason, Reason::Adopted(_)) && !asked.contains(&row.name));
            }
            (None, Some(text)) if asked.contains(&row.name) || matches!(row.decision.reason, Reason::TooOften { .. }) => {
                console.changed(&row.name, &text);
            }
            (None, Some(text)) => console.detail(&row.name, &text),
            (None, None) => console.detail(&row.name, &format!("nothing to do: {}", row.decision.reason)),
        }
    }
}

/// Keeps "nothing until T" for the next runs, where nothing stands against it and the lock is free.
fn conclude(context: &Context, rows: &[Row], now: Time) {
    // Also where only the exit code turns: past a danger point, a run with nothing to do is no success.
    let until = rows.iter().flat_map(|row| [row.decision.step.until(), row.turns]).flatten().min();
    // A limit that is kept is told once: the conclusion then speaks for it by its code.
    let settled = rows.iter().all(|row| row.failure.is_none() || matches!(row.decision.reason, Reason::TooOften { .. }));
    let Some(until) = until.filter(|until| settled && *until > now) else { return };
    if context.store.prepare().is_err() {
        return;
    }
    let Ok(Asked::Ours(_lock, _)) = Lock::try_now(&context.state_dir, now) else { return };
    context.store.sweep();
    for row in rows {
        context.store.sweep_certificate(row.name.as_str());
    }
    let mut files: Vec<PathBuf> = context.sources.iter().map(|source| source.path.clone()).collect();
    files.push(context.conf_dir.clone());
    files.extend(context.config.files.iter().cloned());
    files.extend(["state", "live"].map(|below| context.state_dir.join(below)));
    // Made now, so that the next run does not make it.
    let _ = files::count_run(&context.state_dir);
    let exit = rows.iter().map(|row| row.lasting).max().unwrap_or_default();
    let premises = Premises {
        config: &context.config_path,
        state_dir: &context.state_dir,
        files,
        names: rows.iter().map(|row| &row.name).collect(),
        now,
        until,
        exit,
    };
    if let Some(text) = quiet::draw(&premises, &files::Disk::new(&context.state_dir)) {
        files::write_quiet(&context.state_dir, &text);
    }
}

fn report(context: &Context, selected: &[&Certificate], rows: Vec<Row>, world: &World<'_>, json: Option<&str>, console: &Console) -> Exit {
    let exit = rows.iter().map(|row| row.exit).max().unwrap_or_default();
    if let Some(command) = json {
        let mut entries = context.entries(selected, &rows, world);
        for (entry, row) in entries.iter_mut().zip(rows) {
            entry.issued = Some(row.issued);
            entry.failure = row.failure;
        }
        if let Err(error) = console::data(&report::json(command, exit == Exit::Ok, exit, &entries)) {
            // What was done is done; whoever waits for the report must know that it is none.
            console.error(&error);
            return exit.max(error.exit());
        }
    }
    exit
}
