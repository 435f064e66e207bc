//! Manual pages, completions and README say what the code does.
//!
//! `BLESS=1 cargo test --test main drift` writes what is rendered: `man/certctl.1` down to its marker, and
//! `completions/`. Everything else is written by hand and compared with the code.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
};

use certctl::{
    cli::Cli,
    config::{self, Host, PRESETS, Source},
    domain::outcome::Exit,
};
use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::{
    Man,
    roff::{Roff, bold, italic, roman},
};

#[test]
fn the_manual_page_of_certctl_is_rendered_from_its_command_line() {
    let committed = fs::read_to_string(root().join(PAGE)).unwrap_or_default();
    let (_, by_hand) = committed.split_once(MARKER).unwrap_or_else(|| panic!("{PAGE} has no line {MARKER:?}"));
    fresh(PAGE, &format!("{}{MARKER}{by_hand}", page_head()));
}

#[test]
fn completions_are_rendered_from_the_command_line() {
    for (shell, file) in [(Shell::Bash, "certctl.bash"), (Shell::Fish, "certctl.fish"), (Shell::Zsh, "_certctl")] {
        let mut rendered = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "certctl", &mut rendered);
        let rendered = String::from_utf8(rendered).expect("completions are text");
        // Some shells' renderers leave blanks at the ends of lines.
        let rendered: String = rendered.lines().map(|line| format!("{}\n", line.trim_end())).collect();
        fresh(&format!("completions/{file}"), &rendered);
    }
}

#[test]
fn every_command_and_argument_has_a_help_text() {
    let command = built();
    let mut problems = Vec::new();
    for (path, command) in commands(&command) {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        problems.extend(bad_help(&about).map(|why| format!("{path}: {why}: {about:?}")));
        for argument in command.get_arguments().filter(|a| !a.is_hide_set()) {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            problems.extend(bad_help(&help).map(|why| format!("{path}, {}: {why}: {help:?}", argument.get_id())));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_config_key_is_in_its_manual_page_and_no_other() {
    let (read, described) = (keys_that_are_read(), keys_that_are_described());
    let missing: Vec<_> = read.difference(&described).collect();
    assert!(missing.is_empty(), "{CONFIG_PAGE} lacks `.It Ic` or `.Ss [\u{2026}]` for {missing:?}");
    let stale: Vec<_> = described.difference(&read).collect();
    assert!(stale.is_empty(), "{CONFIG_PAGE} describes {stale:?}, which src/config does not read");
}

#[test]
fn every_preset_is_in_the_manual_page() {
    let page = read(CONFIG_PAGE);
    for (label, url) in PRESETS {
        let row = format!(".It {label} Ta {url}\n");
        assert!(page.contains(&row), "{CONFIG_PAGE} lacks {row:?}");
    }
    let rows = page.lines().filter(|line| line.contains(" Ta https://")).count();
    assert_eq!(rows, PRESETS.len(), "{CONFIG_PAGE} has presets that certctl lacks");
}

#[test]
fn every_exit_code_is_documented_and_no_other() {
    let codes: BTreeSet<u8> = EXITS.iter().map(|exit| listed(*exit).code()).collect();
    let page = read(PAGE);
    let items = section(&page, "EXIT STATUS").lines().filter_map(|line| line.strip_prefix(".B ")?.parse().ok());
    assert_eq!(items.collect::<BTreeSet<u8>>(), codes, "EXIT STATUS of {PAGE}");
    let readme = read(README);
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |")?.0.parse().ok());
    assert_eq!(rows.collect::<BTreeSet<u8>>(), codes, "the table of exit codes in {README}");
}

#[test]
fn every_variable_of_deploy_commands_is_documented_and_no_other() {
    let hooks = read("src/io/hooks.rs");
    let (_, body) = hooks.split_once("fn environment(").expect("hooks.rs has a function `environment`");
    let (body, _) = body.split_once("\n}\n").expect("a function ends");
    let told: BTreeSet<&str> = body
        .split("(\"")
        .skip(1)
        .filter_map(|rest| rest.split_once("\","))
        .map(|(name, _)| name)
        .filter(|name| name.contains('_') && !name.contains('.'))
        .collect();
    let page = read(PAGE);
    let named = section(&page, "DEPLOY COMMANDS").lines().filter_map(|line| line.strip_prefix(".B "));
    let named: BTreeSet<&str> = named.flat_map(|line| line.split(", ")).filter(|word| word.contains('_')).collect();
    assert_eq!(named, told, "DEPLOY COMMANDS of {PAGE}");
}

#[test]
fn the_manual_pages_have_no_errors() {
    for page in [PAGE, CONFIG_PAGE] {
        let lint = std::process::Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(root().join(page)).output();
        let lint = lint.unwrap_or_else(|error| panic!("mandoc: {error}; sh tests/run.sh --install-only installs it"));
        let text = String::from_utf8_lossy(&lint.stdout).into_owned();
        // What is rendered has no date, so that it is the same whenever it is rendered.
        let known = |line: &str| page == PAGE && line.contains("missing date");
        let problems: Vec<&str> = text.lines().filter(|line| !known(line)).collect();
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }
}

#[test]
fn every_config_that_is_shown_parses() {
    let (readme, page) = (read(README), read(CONFIG_PAGE));
    let fenced = blocks(&readme, |line| line == "```toml", "```");
    let displayed = blocks(&page, |line| line.starts_with(".Bd -literal"), ".Ed");
    assert!(fenced.len() > 1 && displayed.len() > 3, "the examples are not found");
    for (file, (line, text)) in fenced.into_iter().map(|b| (README, b)).chain(displayed.into_iter().map(|b| (CONFIG_PAGE, b))) {
        assert!(!text.contains('\\'), "{file}:{line}: the example is not plain text");
        let source = Source { path: PathBuf::from("/etc/certctl/certctl.toml"), text, shared: false };
        if let Err(issues) = config::parse(&[source], &Everyone) {
            let issues: Vec<String> = issues.iter().map(ToString::to_string).collect();
            panic!("{file}:{line}: the example is wrong:\n{}", issues.join("\n"));
        }
    }
}

#[test]
fn every_file_that_the_readme_names_is_there() {
    let readme = read(README);
    let words = readme.split(|c: char| c.is_whitespace() || matches!(c, '`' | '(' | ')' | '[' | ']'));
    let paths = words.map(|word| word.trim_end_matches([',', '.', ':', ';'])).filter(|word| {
        ["contrib/", "tests/", "man/", "completions/", "src/", "LICENSE-", "CHANGELOG"].iter().any(|start| word.starts_with(start))
    });
    for path in paths.collect::<BTreeSet<_>>() {
        assert!(root().join(path).exists(), "{README} names {path}, which is not there");
    }
}

/// Compares a rendered file with the one that is committed, or writes it where that is asked for.
#[track_caller]
fn fresh(file: &str, rendered: &str) {
    let path = root().join(file);
    if env::var_os("BLESS").is_some_and(|v| v == "1") {
        fs::write(&path, rendered).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        return;
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let line = committed.lines().zip(rendered.lines()).take_while(|(a, b)| a == b).count() + 1;
    assert!(committed == rendered, "{file}:{line}: it is not what the command line renders; BLESS=1 cargo test --test main drift");
}

/// The manual page from its title to its commands.
fn page_head() -> String {
    let command = built();
    let man = Man::new(command.clone());
    // Not render_title: it leaves an empty date out, and the version would be taken for it.
    let version = command.get_version().unwrap_or_default();
    let mut text = format!("{APOSTROPHES}.TH CERTCTL 1 \"\" \"certctl {version}\" \"User Commands\"\n");
    text.push_str(&rendered(&man, Man::render_name_section));
    text.push_str(".SH SYNOPSIS\n");
    text.push_str(&synopsis(&command));
    text.push_str(&rendered(&man, Man::render_description_section));
    let global = command.clone().mut_args(|arg| arg.help_heading(None::<&str>));
    text.push_str(".SH OPTIONS\nThese may stand before and after the command.\n");
    text.push_str(body(&rendered(&Man::new(global), Man::render_options_section)));
    text.push_str(".SH COMMANDS\n");
    for (path, leaf) in leaves(&command) {
        let mut heading = Roff::new();
        heading.control("SS", [path.strip_prefix("certctl ").unwrap_or(&path)]);
        text.push_str(&heading.to_roff());
        let leaf = leaf.clone().mut_args(|arg| if is_own(&arg) { arg.help_heading(None::<&str>) } else { arg.hide(true) });
        let man = Man::new(leaf);
        text.push_str(body(&rendered(&man, Man::render_description_section)));
        text.push_str(body(&rendered(&man, Man::render_options_section)));
    }
    text
}

/// A line for each command, with its own options.
fn synopsis(command: &Command) -> String {
    let mut roff = Roff::new();
    for (n, (path, leaf)) in leaves(command).into_iter().enumerate() {
        if n > 0 {
            roff.control("br", []);
        }
        let mut line = vec![bold(path)];
        let (positional, mut options): (Vec<&Arg>, Vec<&Arg>) = leaf.get_arguments().filter(|a| is_own(a)).partition(|a| a.is_positional());
        options.sort_by_key(|a| !a.is_required_set());
        for arg in options.into_iter().chain(positional) {
            let (open, close) = if arg.is_required_set() { (" ", "") } else { (" [", "]") };
            line.push(roman(open));
            if !arg.is_positional() {
                let long = arg.get_long().map(|long| format!("--{long}"));
                let short = arg.get_short().map(|short| format!("-{short}"));
                line.push(bold(short.or(long).unwrap_or_default()));
            }
            if arg.get_action().takes_values() {
                let name = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string).unwrap_or_default();
                line.push(roman(if arg.is_positional() { "" } else { " " }));
                line.push(italic(name));
            }
            let many = matches!(arg.get_action(), clap::ArgAction::Append);
            line.push(roman(format!("{close}{}", if many { " ..." } else { "" })));
        }
        roff.text(line);
    }
    roff.to_roff()
}

fn rendered(man: &Man, render: fn(&Man, &mut dyn std::io::Write) -> std::io::Result<()>) -> String {
    let mut text = Vec::new();
    render(man, &mut text).expect("memory can be written");
    let text = String::from_utf8(text).expect("a manual page is text");
    // Breaks around a list of values that mandoc finds idle.
    let text = text.replace("\n.br\n\n.br\n\\fIPossible values:\\fR\n", "\n.sp\nPossible values:\n");
    text.strip_prefix(APOSTROPHES).unwrap_or(&text).to_owned()
}

/// A section without its heading.
fn body(section: &str) -> &str {
    section.split_once('\n').map_or("", |(_, body)| body)
}

fn built() -> Command {
    let mut command = Cli::command();
    command.build();
    command
}

/// Every command with the words that lead to it, outermost first.
fn commands(command: &Command) -> Vec<(String, &Command)> {
    fn add<'a>(path: &str, command: &'a Command, all: &mut Vec<(String, &'a Command)>) {
        all.push((path.to_owned(), command));
        for below in command.get_subcommands().filter(|c| !c.is_hide_set()) {
            add(&format!("{path} {}", below.get_name()), below, all);
        }
    }
    let mut all = Vec::new();
    add(command.get_name(), command, &mut all);
    all
}

fn leaves(command: &Command) -> Vec<(String, &Command)> {
    commands(command).into_iter().filter(|(_, c)| !c.has_subcommands()).collect()
}

/// Whether an argument belongs to its command alone.
fn is_own(arg: &Arg) -> bool {
    !arg.is_global_set() && !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version")
}

fn bad_help(text: &str) -> Option<&'static str> {
    match text.chars().next() {
        None => Some("no help"),
        Some(first) if first.is_lowercase() => Some("it begins with a small letter"),
        Some(_) if text.ends_with('.') => Some("it ends with a full stop"),
        Some(_) => None,
    }
}

/// The keys that the parser asks a table for, read from its source.
fn keys_that_are_read() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for (file, text) in sources("src/config") {
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for method in ["string", "path", "integer", "boolean", "strings", "section", "sections", "secret", "mode"] {
            for rest in text.split(&format!(".{method}(\"")).skip(1) {
                let key = rest.split_once('"').unwrap_or_else(|| panic!("{}: a string ends", file.display())).0;
                keys.insert(key.to_owned());
            }
        }
    }
    assert!(keys.len() > 20, "the keys are not found: {keys:?}");
    keys
}

/// The keys that the manual page has an item or a heading for.
fn keys_that_are_described() -> BTreeSet<String> {
    let page = read(CONFIG_PAGE);
    let items = page.lines().filter_map(|line| line.strip_prefix(".It Ic "));
    let headings = page.lines().filter_map(|line| line.strip_prefix(".Ss [")).map(|rest| rest.trim_start_matches('['));
    let headings = headings.filter_map(|rest| rest.split([']', '.']).next());
    items.chain(headings).map(str::to_owned).collect()
}

/// A section of a manual page, without its heading.
fn section<'a>(page: &'a str, name: &str) -> &'a str {
    let heading = format!(".SH {name}\n");
    let (_, rest) = page.split_once(&heading).unwrap_or_else(|| panic!("no section {name}"));
    rest.split("\n.SH ").next().unwrap_or_default()
}

/// The texts between two kinds of line, each with the number of its first line.
fn blocks(text: &str, opens: impl Fn(&str) -> bool, close: &str) -> Vec<(usize, String)> {
    let mut found = BTreeMap::new();
    let mut at = None;
    for (n, line) in text.lines().enumerate() {
        match at {
            None if opens(line) => at = Some(n + 2),
            Some(_) if line == close => at = None,
            Some(first) => found.entry(first).or_insert_with(String::new).push_str(&format!("{line}\n")),
            None => {}
        }
    }
    found.into_iter().collect()
}

/// The Rust files of a directory.
fn sources(directory: &str) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(root().join(directory)).unwrap_or_else(|error| panic!("{directory}: {error}"));
    let paths = entries.map(|entry| entry.expect("an entry").path()).filter(|p| p.extension().is_some_and(|e| e == "rs"));
    let mut files: Vec<_> = paths.map(|path| (path.clone(), fs::read_to_string(&path).expect("it is text"))).collect();
    files.sort();
    files
}

#[track_caller]
fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A host that has every user and group.
struct Everyone;

impl Host for Everyone {
    fn user(&self, _: &str) -> Option<u32> {
        Some(1)
    }

    fn group(&self, _: &str) -> Option<u32> {
        Some(1)
    }
}

/// Every exit code; [`listed`] does not compile when one is missing there, which is the time to add it here.
const EXITS: [Exit; 8] =
    [Exit::Ok, Exit::Failed, Exit::Usage, Exit::DeployPending, Exit::Locked, Exit::PersonNeeded, Exit::Interrupted, Exit::Terminated];

const fn listed(exit: Exit) -> Exit {
    match exit {
        Exit::Ok
        | Exit::Failed
        | Exit::Usage
        | Exit::DeployPending
        | Exit::Locked
        | Exit::PersonNeeded
        | Exit::Interrupted
        | Exit::Terminated => exit,
    }
}

/// What every rendered part begins with and a page needs once: a definition of `\*(Aq`.
const APOSTROPHES: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";
const CONFIG_PAGE: &str = "man/certctl.toml.5";
const MARKER: &str = ".\\\" What is above is rendered by tests/drift.rs, what is below is written by hand.\n";
const PAGE: &str = "man/certctl.1";
const README: &str = "README.md";
