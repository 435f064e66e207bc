//! The world: the only place for files, sockets, processes, the environment and the real clock.
//!
//! `clippy.toml` bans them everywhere else; the ban is lifted here and in `main.rs`.

#![expect(clippy::disallowed_methods, reason = "this is the one place for the world")]

pub mod acme;
pub mod clock;
pub mod console;
pub mod disk;
pub mod files;
pub mod hooks;
pub mod host;
pub mod http;
pub mod keys;
pub mod lock;
pub mod solver;
pub mod store;
pub mod vault;
