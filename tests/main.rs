//! The integration tests: one binary, the real program, a real CA (Pebble).

#![expect(clippy::disallowed_methods, reason = "tests are a world of their own")]

mod crash;
mod drift;
mod faults;
mod input;
mod issue;
mod noop;
mod one_run;
mod support;
mod tidy;
