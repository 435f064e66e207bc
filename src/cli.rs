//! The command line as types. Man page and completions are rendered from here; nothing of ours is imported.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Keep TLS certificates valid, deployed and served, from cron or a systemd timer
///
/// certctl makes every certificate in its config valid and deployed, then exits. Run it as often as you like:
/// it does nothing, fast and silently, when nothing is due.
#[derive(Debug, Parser)]
#[command(name = "certctl", version, disable_help_subcommand = true, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Read this config [default: /etc/certctl/certctl.toml; for other users than root $XDG_CONFIG_HOME/certctl/certctl.toml]
    #[arg(long, short = 'c', global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Keep state and certificates here [default: `state_dir` of the config, else $STATE_DIRECTORY, else /var/lib/certctl]
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Say why and what is going on
    #[arg(long, short = 'v', global = true, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Say only what failed
    #[arg(long, short = 'q', global = true)]
    pub quiet: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make every certificate of the config valid and deployed: the command for cron
    Renew(Renew),
    /// Issue one certificate by hand
    Issue(Issue),
    /// Show what `renew` would do now, and why
    Plan(Plan),
    /// Show what there is, and what comes next
    Status(Status),
    /// Look at the config
    #[command(subcommand)]
    Config(Config),
}

/// Make every certificate of the config valid and deployed.
#[derive(Args, Debug)]
pub struct Renew {
    /// Only these certificates [default: all]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Renew this one although it is not due; may be given several times
    #[arg(long, value_name = "NAME")]
    pub force: Vec<String>,
    /// Show what would be done and do nothing, like `plan`
    #[arg(long)]
    pub dry_run: bool,
    /// Write the result as JSON to standard output
    #[arg(long)]
    pub json: bool,
}

/// Issue one certificate by hand.
#[derive(Args, Debug)]
pub struct Issue {
    /// A domain or address of the certificate; may be given several times, the first one names it
    #[arg(long = "domain", short = 'd', required = true, value_name = "NAME", value_delimiter = ',')]
    pub domains: Vec<String>,
    /// Answer http-01 with a file below this directory, which a web server shows
    #[arg(long, value_name = "DIR", conflicts_with = "standalone")]
    pub webroot: Option<PathBuf>,
    /// Answer http-01 with a listener of certctl's own
    #[arg(long)]
    pub standalone: bool,
    /// Ask this CA: a preset, a [ca.…] table of the config, or a directory URL [default: the config's]
    #[arg(long, value_name = "CA")]
    pub ca: Option<String>,
    /// Make a key of this type
    #[arg(long, value_name = "TYPE", value_parser = ["p256", "p384", "rsa2048", "rsa4096"])]
    pub key_type: Option<String>,
    /// Ask for this profile of the CA's
    #[arg(long, value_name = "PROFILE")]
    pub profile: Option<String>,
    /// Call the certificate this [default: its first domain]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Write it to the conf directory first, so that `renew` keeps it valid
    #[arg(long)]
    pub save: bool,
}

/// Show what `renew` would do now, and why.
#[derive(Args, Debug)]
pub struct Plan {
    /// Only these certificates [default: all]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
}

/// Show what there is, and what comes next.
#[derive(Args, Debug)]
pub struct Status {
    /// Only this certificate, in detail
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
}

/// Look at the config.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Say "ok", or everything that is wrong with it
    Check,
}
