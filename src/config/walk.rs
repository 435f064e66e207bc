//! A walk over parsed TOML that knows where it is, and collects what is wrong instead of stopping.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::hints::closest;
use super::{Issue, Origin, Source};

/// A value, and where it was written.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
    pub(super) key: String,
}

impl<T> At<T> {
    pub(super) fn map<U>(self, f: impl FnOnce(T) -> U) -> At<U> {
        At { value: f(self.value), origin: self.origin, key: self.key }
    }

    /// Something that is wrong with this value.
    pub(super) fn issue(&self, message: impl Into<String>, hint: Option<String>) -> Issue {
        Issue { origin: self.origin.clone(), key: Some(self.key.clone()), message: message.into(), hint }
    }
}

/// Everything that was found wrong.
#[derive(Debug, Default)]
pub(super) struct Issues(pub(super) RefCell<Vec<Issue>>);

impl Issues {
    pub(super) fn push(&self, issue: Issue) {
        self.0.borrow_mut().push(issue);
    }

    /// Keeps the good value, notes the bad one.
    pub(super) fn keep<T, U>(&self, at: At<T>, parse: impl FnOnce(&T) -> Result<U, (String, Option<String>)>) -> Option<At<U>> {
        match parse(&at.value) {
            Ok(value) => Some(at.map(|_| value)),
            Err((message, hint)) => {
                self.push(at.issue(message, hint));
                None
            }
        }
    }
}

/// The text of a file with its lines counted.
pub(super) struct Text<'a> {
    pub(super) source: &'a Source,
    starts: Vec<usize>,
}

impl<'a> Text<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        let breaks = source.text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(n, _)| n + 1);
        Self { source, starts: std::iter::once(0).chain(breaks).collect() }
    }

    pub(super) fn origin(&self, span: Range<usize>) -> Origin {
        Origin { file: self.source.path.clone(), line: self.starts.partition_point(|s| *s <= span.start) }
    }
}

/// Keys that belong into another place, and where.
pub(super) type Elsewhere<'a> = &'a [(&'a [&'a str], &'a str)];

/// One table of a file. Keys are taken one by one; what nobody took is unknown.
pub(super) struct Section<'a> {
    pub(super) text: &'a Text<'a>,
    pub(super) issues: &'a Issues,
    pub(super) path: String,
    pub(super) origin: Origin,
    table: &'a DeTable<'a>,
    taken: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Section<'a> {
    pub(super) fn new(text: &'a Text<'a>, issues: &'a Issues, path: &str, table: &'a Spanned<DeTable<'a>>) -> Self {
        Self::below(text, issues, path, table.get_ref(), table.span())
    }

    fn below(text: &'a Text<'a>, issues: &'a Issues, path: &str, table: &'a DeTable<'a>, span: Range<usize>) -> Self {
        Self { text, issues, path: path.to_owned(), origin: text.origin(span), table, taken: RefCell::default() }
    }

    fn full_key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn take(&self, key: &'static str) -> Option<At<&'a DeValue<'a>>> {
        self.taken.borrow_mut().insert(key);
        let value = self.table.get(key)?;
        Some(At { value: value.get_ref(), origin: self.text.origin(value.span()), key: self.full_key(key) })
    }

    fn typed<T>(&self, key: &'static str, wanted: &str, read: impl FnOnce(&'a DeValue<'a>) -> Option<T>) -> Option<At<T>> {
        let at = self.take(key)?;
        match read(at.value) {
            Some(value) => Some(at.map(|_| value)),
            None => {
                self.issues.push(at.issue(format!("it is {}, not {wanted}", describe(at.value)), None));
                None
            }
        }
    }

    pub(super) fn string(&self, key: &'static str) -> Option<At<String>> {
        self.typed(key, "a string", |v| v.as_str().map(str::to_owned))
    }

    pub(super) fn boolean(&self, key: &'static str) -> Option<At<bool>> {
        self.typed(key, "true or false", DeValue::as_bool)
    }

    pub(super) fn integer(&self, key: &'static str) -> Option<At<i64>> {
        self.typed(key, "a whole number", integer)
    }

    /// A path; a relative one is relative to the file that it stands in.
    pub(super) fn path(&self, key: &'static str) -> Option<At<PathBuf>> {
        let at = self.string(key)?;
        self.issues.keep(at, |text| self.resolve(text))
    }

    pub(super) fn resolve(&self, text: &str) -> Result<PathBuf, (String, Option<String>)> {
        if text.is_empty() {
            return Err(("the path is empty".to_owned(), None));
        }
        if text.contains('\0') {
            return Err(("the path has a NUL in it".to_owned(), None));
        }
        if text.starts_with('~') {
            return Err((format!("`{text}`: `~` is not expanded here"), Some("write the whole path".to_owned())));
        }
        Ok(self.text.source.path.parent().map_or_else(|| PathBuf::from(text), |base| base.join(text)))
    }

    /// A list of strings, or where `one` says so a single string.
    pub(super) fn strings(&self, key: &'static str, one: bool) -> Option<At<Vec<At<String>>>> {
        let at = self.take(key)?;
        if let (true, Some(text)) = (one, at.value.as_str()) {
            let only = At { value: text.to_owned(), origin: at.origin.clone(), key: at.key.clone() };
            return Some(at.map(|_| vec![only]));
        }
        let Some(array) = at.value.as_array() else {
            let wanted = if one { "a string or a list of strings" } else { "a list of strings" };
            // There is no shell: a command is a list of its words.
            let words =
                |text: &str| if key == "deploy" { text.split_whitespace().map(str::to_owned).collect() } else { vec![text.to_owned()] };
            let hint = at.value.as_str().map(|text| format!("write {key} = {:?}", words(text)));
            self.issues.push(at.issue(format!("it is {}, not {wanted}", describe(at.value)), hint));
            return None;
        };
        let mut out = Vec::new();
        for item in array.iter() {
            let item_at = At { value: item.get_ref(), origin: self.text.origin(item.span()), key: at.key.clone() };
            match item.get_ref().as_str() {
                Some(text) => out.push(item_at.map(|_| text.to_owned())),
                None => self.issues.push(item_at.issue(format!("it holds {}, not only strings", describe(item.get_ref())), None)),
            }
        }
        Some(at.map(|_| out))
    }

    pub(super) fn section(&self, key: &'static str) -> Option<Self> {
        let at = self.take(key)?;
        let span = self.table.get(key).map(Spanned::span).unwrap_or_default();
        match at.value.as_table() {
            Some(table) => Some(Self::below(self.text, self.issues, &at.key, table, span)),
            None => {
                self.issues.push(at.issue(format!("it is {}, not a table", describe(at.value)), None));
                None
            }
        }
    }

    /// The tables of a `[[key]]` list.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Self> {
        let Some(at) = self.take(key) else { return Vec::new() };
        let Some(array) = at.value.as_array() else {
            let hint = at.value.is_table().then(|| format!("write [[{key}]], with two brackets"));
            self.issues.push(at.issue(format!("it is {}, not a list of tables", describe(at.value)), hint));
            return Vec::new();
        };
        let mut out = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_table() {
                Some(table) => out.push(Self::below(self.text, self.issues, &at.key, table, item.span())),
                None => self.issues.push(at.issue(format!("it holds {}, not only tables", describe(item.get_ref())), None)),
            }
        }
        out
    }

    /// The tables below this one, whatever their keys.
    pub(super) fn tables(&self) -> Vec<(At<String>, Self)> {
        let mut out = Vec::new();
        for (key, value) in self.table {
            let label: &str = key.get_ref();
            let at = At { value: label.to_owned(), origin: self.text.origin(key.span()), key: self.full_key(label) };
            match value.get_ref().as_table() {
                Some(table) => {
                    let section = Self::below(self.text, self.issues, &at.key, table, key.span());
                    out.push((at, section));
                }
                None => self.issues.push(at.issue(format!("it is {}, not a table", describe(value.get_ref())), None)),
            }
        }
        out
    }

    /// The keys of the table that stands at `key`, where it is one.
    pub(super) fn labels(&self, key: &str) -> Vec<String> {
        let table = self.table.get(key).and_then(|v| v.get_ref().as_table());
        table.map(|t| t.keys().map(|k| k.get_ref().to_string()).collect()).unwrap_or_default()
    }

    pub(super) fn is_table(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(|v| v.get_ref().is_table())
    }

    pub(super) fn is_string(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(|v| v.get_ref().is_str())
    }

    /// Where a key was written.
    pub(super) fn origin_of(&self, key: &str) -> Option<Origin> {
        self.table.get_key_value(key).map(|(k, _)| self.text.origin(k.span()))
    }

    /// Notes every key that nobody took.
    ///
    /// `later`: keys that this version knows of and cannot do; `elsewhere`: keys that belong into another place.
    pub(super) fn finish(&self, later: &[&str], elsewhere: Elsewhere<'_>) {
        let taken = self.taken.borrow();
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if taken.contains(name) {
                continue;
            }
            let (message, hint) = if later.contains(&name) {
                ("this version of certctl cannot do this yet".to_owned(), Some("remove the key".to_owned()))
            } else if let Some((_, place)) = elsewhere.iter().find(|(keys, _)| keys.contains(&name)) {
                ("this key does not belong here".to_owned(), Some((*place).to_owned()))
            } else {
                let meant = closest(name, taken.iter().copied());
                ("unknown key".to_owned(), meant.map(|meant| format!("did you mean `{meant}`?")))
            };
            let origin = self.text.origin(key.span());
            self.issues.push(Issue { origin, key: Some(self.full_key(name)), message, hint });
        }
    }
}

pub(super) fn integer(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn describe(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
