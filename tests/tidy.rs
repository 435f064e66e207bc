//! Rules about the source that no compiler checks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Which modules may use which, `commands` apart: that one picks what is used and may use everything.
///
/// Imports go downwards only. An entry with `::` allows one name of a module and no more of it. A module may always use
/// itself.
const LAYERS: [(&str, &[&str]); 15] = [
    ("cli", &[]),
    ("domain", &[]),
    ("error", &["domain"]),
    ("config", &["domain"]),
    ("state", &["domain"]),
    ("quiet", &["domain", "ports"]),
    ("plan", &["domain", "config", "state"]),
    ("report", &["domain", "config", "state", "plan"]),
    ("ports", &["domain", "config", "state"]),
    ("survey", &["domain", "config", "state", "plan", "ports"]),
    ("journal", &["domain", "config", "state", "plan", "ports"]),
    ("execute", &["domain", "config", "state", "plan", "ports"]),
    ("run", &["domain", "config", "state", "plan", "ports", "survey", "execute"]),
    ("io", &["domain", "config", "state", "ports", "error"]),
    ("lib", &[]),
];

#[test]
fn imports_go_downwards_only() {
    let layers: BTreeMap<&str, &[&str]> = LAYERS.into_iter().collect();
    let files = rust_files("src");
    let modules: BTreeSet<String> = files.iter().map(|(path, _)| module_path(path).swap_remove(0)).collect();
    let mut problems = Vec::new();
    for (layer, allowed) in &layers {
        for name in [layer].into_iter().chain(*allowed) {
            let module = name.split("::").next().unwrap_or(name);
            if !modules.contains(module) {
                problems.push(format!("LAYERS: `{name}`: there is no module `{module}`"));
            }
        }
    }
    for (path, text) in &files {
        let own = &module_path(path)[0];
        let allowed = match (own.as_str(), layers.get(own.as_str())) {
            ("commands" | "main", None) => continue,
            (_, Some(allowed)) => *allowed,
            (_, None) => {
                problems.push(format!("{}: `{own}` is missing in LAYERS", shown(path)));
                continue;
            }
        };
        let code = code_only(text);
        for (at, used) in uses(&code, module_path(path).len()) {
            let within = |prefix: &str| used == prefix || used.strip_prefix(prefix).is_some_and(|rest| rest.starts_with("::"));
            if !within(own) && !allowed.iter().any(|prefix| within(prefix)) {
                let line = text[..at].matches('\n').count();
                let words = text.lines().nth(line).unwrap_or_default().trim();
                problems.push(format!("{}:{}: `{own}` must not use `{used}`: {words}", shown(path), line + 1));
            }
        }
    }
    none(&problems);
}

#[test]
fn the_import_reader_finds_every_form() {
    let text = "use crate::config::{self, Ca};\nuse crate::{report, run::{self, Row}};\nuse super::plan;\n\
        fn f() { crate::domain::text::escape(super::io::X, \"use crate::no;\") }\n// crate::comment\n\
        #[cfg(test)]\nmod tests {\n    use crate::tested;\n}\nuse crate::\n    last;\n#[cfg(test)]\nuse crate::also_tested;\n";
    let code = code_only(text);
    let found: Vec<String> = uses(&code, 1).into_iter().map(|(_, used)| used).collect();
    let wanted = ["config::self", "config::Ca", "report", "run::self", "run::Row", "domain::text::escape", "last", "plan", "io::X"];
    assert_eq!(found, wanted);
    assert_eq!(uses("use super::super::io; use super::x;", 2).len(), 1, "only what leads to the root");
}

#[test]
fn nothing_is_left_for_later_or_silenced() {
    // Put together here, so that this file does not break its own rule.
    let banned =
        [concat!("#[al", "low("), concat!("#![al", "low("), concat!("to", "do!"), concat!("unimpl", "emented!"), concat!("db", "g!(")];
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let mut problems = Vec::new();
    for (path, text) in ["src", "tests", "benches"].into_iter().flat_map(rust_files) {
        for (n, line) in text.lines().enumerate() {
            let found = banned.iter().filter(|ban| line.contains(*ban)).chain(marks.iter().filter(|mark| is_naked(line, mark)));
            problems.extend(found.map(|word| format!("{}:{}: {word}: {}", shown(&path), n + 1, line.trim())));
        }
    }
    none(&problems);
}

#[test]
fn every_source_file_is_a_declared_module() {
    let mut problems = Vec::new();
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml is there");
    for (path, _) in rust_files("src").into_iter().chain(rust_files("tests")) {
        if manifest.contains(&format!("path = \"{}\"", shown(&path))) {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let directory = path.parent().unwrap_or(root());
        let (declared, parent) = match name.as_str() {
            "lib" | "main" => continue,
            "mod" => (directory.file_name().unwrap_or_default().to_string_lossy().into_owned(), directory.parent().unwrap_or(root())),
            _ => (name, directory),
        };
        let homes = ["lib.rs", "main.rs", "mod.rs"].map(|file| parent.join(file));
        let wanted = format!("mod {declared};");
        let is_declared = |home: &PathBuf| {
            let text = fs::read_to_string(home).unwrap_or_default();
            text.lines().any(|line| line == wanted || line.ends_with(&format!(" {wanted}")))
        };
        if !homes.iter().chain([&parent.with_extension("rs")]).any(is_declared) {
            problems.push(format!("{}: no `{wanted}` declares it", shown(&path)));
        }
    }
    none(&problems);
}

#[test]
fn dependencies_are_few_known_and_old_enough() {
    let mut problems = Vec::new();
    // Not the graph of `cargo metadata`: that one has optional packages in it which no feature turns on.
    let tree = cargo(&["tree", "--edges", "normal,build", "--target", TARGET, "--prefix", "none", "--format", "{p}"]);
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in tree.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            versions.entry(name).or_default().insert(version);
        }
    }
    assert!(versions.len() > 50, "the tree is not read: {versions:?}");
    for banned in BANNED {
        if versions.contains_key(banned) {
            problems.push(format!("{banned} is among the dependencies; `cargo tree --invert {banned}` says why"));
        }
    }
    for single in SINGLE {
        let found = versions.get(single).map_or(0, BTreeSet::len);
        if found != 1 {
            problems.push(format!("{single} is there in {found} versions, not in one"));
        }
    }
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--filter-platform", TARGET])).expect("JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let ours = packages.iter().find(|p| p["name"] == env!("CARGO_PKG_NAME")).expect("certctl itself");
    let limit = rust_version(ours).expect("certctl says which Rust it needs");
    for package in packages {
        if rust_version(package).is_some_and(|needed| needed > limit) {
            let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
            problems.push(format!("{} {} needs Rust {}", text("name"), text("version"), text("rust_version")));
        }
    }
    none(&problems);
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml is there");
    let (mut table, mut problems, mut seen) = ("", Vec::new(), 0);
    for (n, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            table = line.trim();
        } else if table.contains("dependencies") && !line.trim().is_empty() && !line.starts_with('#') {
            seen += 1;
            if line.split_once(" # ").is_none_or(|(_, reason)| reason.trim().len() < 10) {
                problems.push(format!("Cargo.toml:{}: no reason: {line}", n + 1));
            }
        }
    }
    assert!(seen > 10, "the dependencies are not found");
    none(&problems);
}

#[test]
fn no_file_knows_the_machine_that_it_was_written_on() {
    if !root().join(".git").exists() {
        // What a release ships is checked where it is made.
        return;
    }
    let banned = [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/ho", "me/")];
    let listed = Command::new("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root()).output();
    let listed = listed.expect("git runs");
    assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let mut problems = Vec::new();
    for file in String::from_utf8_lossy(&listed.stdout).split_terminator('\0').filter(|file| *file != "Cargo.lock") {
        let bytes = fs::read(root().join(file)).unwrap_or_default();
        for (n, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            let found = banned.iter().filter(|path| line.contains(*path));
            problems.extend(found.map(|path| format!("{file}:{}: {path}: {}", n + 1, line.trim())));
        }
    }
    none(&problems);
}

#[track_caller]
fn none(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems\n{}", problems.len(), problems.join("\n"));
}

/// The names of our own crate that a text uses, each as a path from the crate's root, with the place of its first word.
///
/// `depth`: how many modules below the root the text is, so that as many `super::` lead to it.
fn uses(code: &str, depth: usize) -> Vec<(usize, String)> {
    let to_root = "super::".repeat(depth);
    let mut found = Vec::new();
    for start in ["crate::", &to_root] {
        for (at, _) in code.match_indices(start) {
            let before = &code[..at];
            let rest = &code[at + start.len()..];
            let longer = before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '$')) || rest.starts_with("super::");
            if !longer {
                found.extend(expand(rest).into_iter().map(|path| (at, path)));
            }
        }
    }
    found
}

/// The paths that a use tree, or a path in an expression, stands for.
fn expand(text: &str) -> Vec<String> {
    let text = text.trim_start();
    let Some(group) = text.strip_prefix('{') else {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        return match rest.strip_prefix("::") {
            Some(below) if below.starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | '{')) => {
                expand(below).into_iter().map(|path| format!("{word}::{path}")).collect()
            }
            _ if word.is_empty() => Vec::new(),
            _ => vec![word.to_owned()],
        };
    };
    let (mut paths, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                paths.extend(expand(&group[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    paths
}

/// The text with comments, one-line strings and what is only for tests blanked out; every byte keeps its place.
fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (mut quoted, mut escaped, mut comment, mut before) = (false, false, false, ' ');
        for c in line.chars() {
            let blank = comment || quoted;
            match c {
                '\n' => {}
                _ if comment => {}
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                // A quote as a character is no string.
                '"' if before != '\'' || quoted => quoted = !quoted,
                '/' if !quoted && before == '/' => comment = true,
                _ => {}
            }
            before = c;
            if blank && c != '\n' {
                code.extend(std::iter::repeat_n(' ', c.len_utf8()));
            } else {
                code.push(c);
            }
        }
    }
    while let Some(start) = code.find("#[cfg(test)]") {
        let rest = &code[start..];
        let end = match rest.find(['{', ';']) {
            Some(at) if rest[at..].starts_with('{') => rest.find("\n}").map_or(rest.len(), |at| at + 2),
            Some(at) => at + 1,
            None => rest.len(),
        };
        let blank: String = rest[..end].bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }).collect();
        code.replace_range(start..start + end, &blank);
    }
    code
}

/// Whether a line has a mark that names no issue, as in `MARK(#12)`.
fn is_naked(line: &str, mark: &str) -> bool {
    line.match_indices(mark).any(|(at, _)| {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let rest = &line[at + mark.len()..];
        !line[..at].ends_with(is_word) && !rest.starts_with(is_word) && !rest.starts_with("(#")
    })
}

/// Where a source file is among the modules: `src/io/acme/wire.rs` is `io`, `acme`, `wire`.
fn module_path(path: &Path) -> Vec<String> {
    let relative = path.strip_prefix(root().join("src")).unwrap_or(path).with_extension("");
    let mut modules: Vec<String> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if modules.len() > 1 && modules.last().is_some_and(|last| last == "mod") {
        modules.pop();
    }
    modules
}

/// Every Rust file below a directory, in the order of the paths; none where there is no such directory.
fn rust_files(directory: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut open = vec![root().join(directory)];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                files.push((path, text));
            }
        }
    }
    files.sort();
    files
}

/// What cargo says, from what it has already.
fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).args(["--offline", "--locked"]).current_dir(root()).output();
    let output = output.expect("cargo runs");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

fn rust_version(package: &Value) -> Option<Vec<u64>> {
    let text = package["rust_version"].as_str()?;
    Some(text.split('.').map(|part| part.parse().expect("a number")).chain([0, 0, 0]).take(3).collect())
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A second TLS stack, a second HTTP stack, an async runtime's worth of code.
const BANNED: [&str; 5] = ["hyper", "native-tls", "openssl-sys", "reqwest", "ring"];
const SINGLE: [&str; 2] = ["aws-lc-sys", "ureq"];
const TARGET: &str = "x86_64-unknown-linux-gnu";
