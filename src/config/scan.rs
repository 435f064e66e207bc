//! Finds `state_dir` in a config without parsing it.
//!
//! A run with nothing to do must know where its `quiet` file lies before it parses 10,000
//! certificates. The scan reads the root keys, which end at the first table; where it has the
//! slightest doubt it says so, and the parser decides. A test holds it against the parser.

/// What the scan found; the inner `None` says that the config surely has no `state_dir`.
#[must_use]
pub fn scan_state_dir(text: &str) -> Option<Option<String>> {
    let mut found = None;
    for line in text.lines() {
        let line = line.trim_matches([' ', '\t', '\r', '\u{feff}']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with('[') {
            return Some(found);
        }
        let (key, value) = line.split_once('=')?;
        let (key, value) = (key.trim_end_matches([' ', '\t']), value.trim_start_matches([' ', '\t']));
        if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
            return None;
        }
        let text = simple_value(value)?;
        if key == "state_dir" {
            found = Some(text?.to_owned());
        }
    }
    Some(found)
}

/// A value that ends on its own line: the inner `Some` where it is a plain string.
fn simple_value(value: &str) -> Option<Option<&str>> {
    let first = value.chars().next()?;
    if first == '"' || first == '\'' {
        let (text, rest) = value[1..].split_once(first)?;
        let plain = !text.contains('\\') && !text.is_empty() && ends(rest);
        return plain.then_some(Some(text));
    }
    // Brackets, quotes and braces that stay open would swallow the lines below.
    let mut depth = 0i32;
    let mut quote = None;
    for c in value.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), '\\') => return None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth -= 1,
            (None, '#') => break,
            (None, _) => {}
        }
    }
    (depth == 0 && quote.is_none() && !value.contains("\"\"\"") && !value.contains("'''")).then_some(None)
}

fn ends(rest: &str) -> bool {
    let rest = rest.trim_start_matches([' ', '\t']);
    rest.is_empty() || rest.starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_configs() {
        for (text, found) in [
            ("", Some(None)),
            ("ca = \"x\"\n[[certificate]]\nstate_dir = \"no\"\n", Some(None)),
            ("state_dir = \"/a b\" # c\n", Some(Some("/a b"))),
            ("ca = [\"a\", 'b'] # [\nstate_dir='/x'\n[ca.x]\n", Some(Some("/x"))),
            ("parallel = 4\r\nstate_dir = \"/x\"\r\n", Some(Some("/x"))),
            ("ca = [\n\"a\"]\n", None),
            ("x = \"\"\"\n[a]\n\"\"\"\nstate_dir = \"/x\"\n", None),
            ("state_dir = \"/\\u0061\"\n", None),
            ("\"state_dir\" = \"/x\"\n", None),
            ("state_dir = 3\n", None),
        ] {
            assert_eq!(scan_state_dir(text), found.map(|f: Option<&str>| f.map(str::to_owned)), "{text:?}");
        }
    }

    /// Where the scan is certain, the parser agrees: over 200,000 texts made of the pieces that matter.
    #[test]
    fn the_scan_never_contradicts_the_parser() {
        const PIECES: [&str; 26] = [
            "state_dir",
            "=",
            " ",
            "\n",
            "\"",
            "'",
            "\"\"\"",
            "'''",
            "[",
            "]",
            "{",
            "}",
            "#",
            "\\",
            "/x",
            "a",
            ",",
            ".",
            "\r\n",
            "\t",
            "1",
            "true",
            "\"/s\"",
            "state_dir = \"/t\"\n",
            "k = [",
            "\u{feff}",
        ];
        let seed = 0x5eed;
        let mut random = fastrand::Rng::with_seed(seed);
        let mut certain = 0;
        for round in 0..200_000 {
            let text: String = (0..random.usize(1..14)).map(|_| PIECES[random.usize(..PIECES.len())]).collect();
            let (Some(scanned), Ok(table)) = (scan_state_dir(&text), text.parse::<toml::Table>()) else { continue };
            certain += 1;
            let parsed = table.get("state_dir").and_then(|v| v.as_str()).map(str::to_owned);
            assert_eq!(scanned, parsed, "seed {seed:#x}, round {round}: {text:?}");
        }
        assert!(certain > 1000, "only {certain} texts were decided");
    }
}
