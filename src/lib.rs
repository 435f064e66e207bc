//! certctl: a single-shot ACME certificate tool for cron and systemd timers.
//!
//! How a run flows, and so how the modules lie; imports go downwards only, which a test holds:
//!
//! ```text
//! Args ─▶ quiet? ─▶ Config ─▶ State, Inventory ─▶ anything due? ─▶ lock, re-read ─┐
//!           │yes: exit          (survey)                             no: exit     ▼
//!                                         ┌──────── per certificate: step = plan::next(now, …)  (pure)
//!                                         │            execute(step) ── Events ──▶ journal: record (pure fold), fsync
//!                                         └──────────────── until Nothing or Wait ─▶ Report ─▶ exit code
//! ```
//!
//! `domain` holds the nouns, the files at the top are the verbs, `io` is the world. Policy (`plan`,
//! `state::record`, `quiet`) is pure: time is an argument. Effects sit behind the traits of `ports`.

#![forbid(unsafe_code)]

// The command line, as types.
pub mod cli;

// Values, and what ends a program.
pub mod domain;
pub mod error;

// From text to values, and the decisions made of them.
pub mod config;
pub mod plan;
pub mod quiet;
pub mod report;
pub mod state;

// The world as traits, and what is done through them, in the order of a run.
pub mod ports;

pub mod survey;

pub mod journal;

pub mod execute;

pub mod run;

// The world itself, and the only place that picks it.
pub mod io;

pub mod commands;
