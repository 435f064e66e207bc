//! One verb a file; the only place that picks concrete io.

mod config_check;
mod context;
mod issue;
mod plan;
mod renew;
mod status;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::cli::{self, Cli, Command};
use crate::domain::outcome::Exit;
use crate::io::console::Console;

/// Runs the program.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // First of all: nothing that this process makes may be read by others unless it says so.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Standard output may be gone; there is nobody to tell then.
            let _ = error.print();
            let shown = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return ExitCode::from(if shown { Exit::Ok } else { Exit::Usage }.code());
        }
    };
    let console = Console::new(cli.global.verbose, cli.global.quiet);
    let ended = match &cli.command {
        Command::Renew(args) => renew::run(&cli.global, args, console),
        Command::Issue(args) => issue::run(&cli.global, args, console),
        Command::Plan(args) => plan::run(&cli.global, args),
        Command::Status(args) => status::run(&cli.global, args),
        Command::Config(cli::Config::Check) => config_check::run(&cli.global, console),
    };
    let exit = ended.unwrap_or_else(|error| {
        console.error(&error);
        error.exit()
    });
    ExitCode::from(exit.code())
}
