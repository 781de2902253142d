//! Holds a table of the file against its specification, and reads typed values out of it.
//!
//! Making a [`Reader`] notes every unknown key, missing key and wrong value of its table. The
//! typed getters then never fail: where the file has no usable value they give the default or an
//! empty one, which nobody sees, because a file with problems is refused as a whole.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::problem::{Fault, Problems};
use crate::spec::{Key, Kind, Presence, TableSpec};
use crate::value::{format_duration, format_size, parse_duration, parse_size};

/// A table of which no key is known beforehand.
static NOTHING: TableSpec = TableSpec { doc: "", keys: &[] };

/// One table of the file.
pub(crate) struct Reader<'a> {
    table: Option<&'a DeTable<'a>>,
    spec: &'static TableSpec,
    /// Dotted name of the table, empty for the file itself.
    name: String,
    span: Range<usize>,
    problems: &'a Problems<'a>,
    base: &'a Path,
}

impl<'a> Reader<'a> {
    /// Reads the whole file. `base` is what relative paths in it are relative to.
    pub(crate) fn root(
        table: &'a DeTable<'a>,
        spec: &'static TableSpec,
        problems: &'a Problems<'a>,
        base: &'a Path,
    ) -> Self {
        Self { table: None, spec, name: String::new(), span: 0..0, problems, base }.over(table)
    }

    fn over(mut self, table: &'a DeTable<'a>) -> Self {
        self.table = Some(table);
        self.verify(table);
        self
    }

    fn verify(&self, table: &DeTable<'_>) {
        for (name, value) in table.iter() {
            let path = self.path(name.get_ref());
            match self.spec.find(name.get_ref()) {
                None => self.problems.add(&name.span(), path, self.unknown(name.get_ref())),
                Some(key) => verify_value(&key.kind, value, &path, self.problems),
            }
        }
        for key in self.spec.keys {
            let missing =
                matches!(key.presence, Presence::Required) && !table.contains_key(key.name);
            if missing {
                let advice = format!("Add it: {}", key.doc);
                self.problems.add(
                    &self.span,
                    self.path(key.name),
                    Fault::new("is missing.", advice),
                );
            }
        }
    }

    fn unknown(&self, name: &str) -> Fault {
        let nearest = nearest(name, self.spec.keys.iter().map(|key| key.name));
        let advice = nearest.map_or_else(
            || {
                let names: Vec<_> = self.spec.keys.iter().map(|key| key.name).collect();
                format!("Known here: {}.", names.join(", "))
            },
            |nearest| format!("Did you mean \"{nearest}\"?"),
        );
        Fault::new("is not a known key.", advice)
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn value(&self, name: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table?.get(name)
    }

    /// Dotted name of this table.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Was the key written?
    pub(crate) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Notes a problem that only shows when several values are seen together.
    pub(crate) fn problem(&self, name: &str, fault: Fault) {
        let span = self.value(name).map_or_else(|| self.span.clone(), Spanned::span);
        self.problems.add(&span, self.path(name), fault);
    }

    /// Reads `name` by `read`, from the file or from the default of the specification.
    fn read<T>(&self, name: &str, read: impl Fn(&DeValue<'_>) -> Option<T>) -> Option<T> {
        if let Some(value) = self.value(name).and_then(|value| read(value.get_ref())) {
            return Some(value);
        }
        let Some(Key { presence: Presence::Default(toml), .. }) = self.spec.find(name) else {
            return None;
        };
        read(DeValue::parse(toml).ok()?.get_ref())
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.read(name, |value| value.as_bool()).unwrap_or_default()
    }

    pub(crate) fn optional_flag(&self, name: &str) -> Option<bool> {
        self.read(name, |value| value.as_bool())
    }

    pub(crate) fn integer(&self, name: &str) -> u64 {
        self.optional_integer(name).unwrap_or_default()
    }

    pub(crate) fn optional_integer(&self, name: &str) -> Option<u64> {
        self.read(name, as_integer)
    }

    pub(crate) fn duration(&self, name: &str) -> Duration {
        self.read(name, |value| parse_duration(value.as_str()?)).unwrap_or_default()
    }

    pub(crate) fn size(&self, name: &str) -> u64 {
        self.read(name, |value| parse_size(value.as_str()?)).unwrap_or_default()
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.optional_text(name).unwrap_or_default()
    }

    pub(crate) fn optional_text(&self, name: &str) -> Option<String> {
        self.read(name, |value| value.as_str().map(str::to_owned))
    }

    /// A path; one that is relative is taken from the folder of the configuration file.
    pub(crate) fn optional_file(&self, name: &str) -> Option<PathBuf> {
        self.optional_text(name).map(|path| self.base.join(path))
    }

    /// A path within a value, which is relative to the configuration like every other.
    pub(crate) fn beside(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    /// A file that has to be readable now.
    pub(crate) fn readable_file(&self, name: &str) -> Option<PathBuf> {
        let path = self.optional_file(name)?;
        if let Err(error) = std::fs::File::open(&path) {
            let reason = format!("{}: {error}.", path.display());
            self.problem(name, Fault::new(reason, "Name a file that this user can read."));
        }
        Some(path)
    }

    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        self.read(name, |value| Some(items(value).filter_map(|item| text_of(item)).collect()))
            .unwrap_or_default()
    }

    /// The table `name`, or an empty one with its defaults.
    pub(crate) fn table(&self, name: &str) -> Self {
        let found =
            self.value(name).and_then(|value| Some((value.get_ref().as_table()?, value.span())));
        let span = found.as_ref().map_or_else(|| self.span.clone(), |(_, span)| span.clone());
        self.child(name, self.path(name), span, found.map(|(table, _)| table))
    }

    /// The tables of a list, each with its number in its name.
    pub(crate) fn tables(&self, name: &str) -> Vec<Self> {
        let Some(value) = self.value(name) else { return Vec::new() };
        let tables: Vec<_> = match value.get_ref() {
            DeValue::Array(list) => list.iter().collect(),
            _ => vec![value],
        };
        let numbered = tables.into_iter().enumerate().filter_map(|(index, value)| {
            let path = format!("{}[{}]", self.path(name), index + 1);
            Some(self.child(name, path, value.span(), Some(value.get_ref().as_table()?)))
        });
        numbered.collect()
    }

    /// The tables by name, in the order of their names.
    pub(crate) fn named(&self, name: &str) -> Vec<(String, Self)> {
        let Some(tables) = self.value(name).and_then(|value| value.get_ref().as_table()) else {
            return Vec::new();
        };
        let readers = tables.iter().filter_map(|(chosen, value)| {
            let path = format!("{}.{}", self.path(name), chosen.get_ref());
            let table = value.get_ref().as_table()?;
            let reader = self.child(name, path, chosen.span(), Some(table));
            Some((chosen.get_ref().to_string(), reader))
        });
        readers.collect()
    }

    /// The values by name, in the order of their names, each as a list; and a reader of the table
    /// that they stand in, to note problems with.
    pub(crate) fn map(&self, name: &str) -> (Self, Vec<(String, Vec<String>)>) {
        let found = self.value(name).and_then(|value| value.get_ref().as_table());
        let own = Reader {
            table: found,
            spec: &NOTHING,
            name: self.path(name),
            span: self.span.clone(),
            problems: self.problems,
            base: self.base,
        };
        let values = found.into_iter().flat_map(|table| table.iter()).map(|(name, value)| {
            let texts = items(value.get_ref()).filter_map(text_of).collect();
            (name.get_ref().to_string(), texts)
        });
        (own, values.collect())
    }

    fn child(
        &self,
        key: &str,
        name: String,
        span: Range<usize>,
        table: Option<&'a DeTable<'a>>,
    ) -> Self {
        let spec = match self.spec.find(key) {
            Some(Key {
                kind: Kind::Table(spec) | Kind::Tables(spec) | Kind::Named(spec), ..
            }) => spec,
            _ => &NOTHING,
        };
        let child =
            Reader { table: None, spec, name, span, problems: self.problems, base: self.base };
        match table {
            Some(table) => child.over(table),
            None => child,
        }
    }
}

fn text_of(value: &DeValue<'_>) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn as_integer(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(&integer.as_str().replace('_', ""), integer.radix()).ok()
}

fn items<'v, 'i>(value: &'v DeValue<'i>) -> Box<dyn Iterator<Item = &'v DeValue<'i>> + 'v> {
    match value {
        DeValue::Array(list) => Box::new(list.iter().map(Spanned::get_ref)),
        single => Box::new(std::iter::once(single)),
    }
}

/// Notes what is wrong with `value` by itself. Tables are verified when they are read.
fn verify_value(kind: &Kind, value: &Spanned<DeValue<'_>>, path: &str, problems: &Problems<'_>) {
    let add = |fault| problems.add(&value.span(), path, fault);
    match (kind, value.get_ref()) {
        (Kind::List(item), DeValue::Array(list)) => {
            let mut seen = HashSet::new();
            for entry in list.iter() {
                verify_value(item, entry, path, problems);
                if let Some(text) = entry.get_ref().as_str().filter(|text| !seen.insert(*text)) {
                    let fault = Fault::new(format!("{text:?} stands twice."), "Remove one.");
                    problems.add(&entry.span(), path, fault);
                }
            }
        }
        (Kind::List(item), _) => verify_value(item, value, path, problems),
        (Kind::Tables(_), DeValue::Array(list)) => {
            for entry in list.iter().filter(|entry| !entry.get_ref().is_table()) {
                problems.add(&entry.span(), path, wrong_type("a table", entry.get_ref()));
            }
        }
        (Kind::Named(_), DeValue::Table(tables)) => {
            for (_, entry) in tables.iter().filter(|(_, entry)| !entry.get_ref().is_table()) {
                problems.add(&entry.span(), path, wrong_type("a table", entry.get_ref()));
            }
        }
        (Kind::Map(item), DeValue::Table(values)) => {
            for (name, entry) in values.iter() {
                let path = format!("{path}.{}", name.get_ref());
                verify_value(item, entry, &path, problems);
            }
        }
        (Kind::Table(_) | Kind::Tables(_), DeValue::Table(_)) => {}
        (kind, value) => {
            if let Err(fault) = verify_scalar(kind, value) {
                add(fault);
            }
        }
    }
}

fn verify_scalar(kind: &Kind, value: &DeValue<'_>) -> Result<(), Fault> {
    match (kind, value) {
        (Kind::Flag, DeValue::Boolean(_)) => Ok(()),
        (Kind::Flag, other) => Err(wrong_type("true or false", other)),
        (Kind::Integer { least, most }, DeValue::Integer(_)) => {
            let range = format!("Write a whole number from {least} to {most}.");
            match as_integer(value) {
                Some(number) if (*least..=*most).contains(&number) => Ok(()),
                _ => Err(Fault::new("is out of range.", range)),
            }
        }
        (Kind::Integer { .. }, other) => Err(wrong_type("a whole number", other)),
        (Kind::Duration { least, most }, DeValue::String(text)) => {
            let (low, high) = (format_duration(*least), format_duration(*most));
            let advice = format!("Write a time from {low} to {high}, for example \"{low}\".");
            in_range(text, parse_duration(text), *least..=*most, (&low, &high), advice)
        }
        (Kind::Duration { .. }, other) => {
            Err(wrong_type("a time in quotes, such as \"1h\"", other))
        }
        (Kind::Size { least, most }, DeValue::String(text)) => {
            let (low, high) = (format_size(*least), format_size(*most));
            let advice = format!("Write a size from {low} to {high}, for example \"{low}\".");
            in_range(text, parse_size(text), *least..=*most, (&low, &high), advice)
        }
        (Kind::Size { .. }, other) => Err(wrong_type("a size in quotes, such as \"64KiB\"", other)),
        (Kind::Choice(words), DeValue::String(text)) => verify_choice(words, text),
        (Kind::Choice(_) | Kind::Text(_), other) if !other.is_str() => {
            Err(wrong_type("text in quotes", other))
        }
        (Kind::Text(verify), DeValue::String(text)) => verify(text),
        (_, other) => Err(wrong_type("a table", other)),
    }
}

fn in_range<T: PartialOrd>(
    text: &str,
    parsed: Option<T>,
    range: std::ops::RangeInclusive<T>,
    (low, high): (&str, &str),
    advice: String,
) -> Result<(), Fault> {
    match parsed {
        None => Err(Fault::new(format!("{text:?} cannot be read."), advice)),
        Some(value) if value < *range.start() => {
            Err(Fault::new(format!("{text:?} is less than {low}."), advice))
        }
        Some(value) if value > *range.end() => {
            Err(Fault::new(format!("{text:?} is more than {high}."), advice))
        }
        Some(_) => Ok(()),
    }
}

fn verify_choice(words: &[&'static str], text: &str) -> Result<(), Fault> {
    if words.contains(&text) {
        return Ok(());
    }
    let advice = match nearest(text, words.iter().copied()) {
        Some(word) => format!("Did you mean \"{word}\"?"),
        None => format!("Write one of: {}.", words.join(", ")),
    };
    Err(Fault::new(format!("{text:?} is not a choice here."), advice))
}

fn wrong_type(expected: &str, found: &DeValue<'_>) -> Fault {
    Fault::new(format!("is {} and should be {expected}.", found.type_str()), "")
}

/// The candidate that is at most a third of its letters away from `name`.
fn nearest<'n>(name: &str, candidates: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    candidates
        .map(|candidate| (edit_distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(name.len()).div_ceil(3))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, in characters.
fn edit_distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (index, left) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(row.first_mut().unwrap_or(&mut 0), index + 1);
        let mut before = index + 1;
        for (cell, right) in row.iter_mut().skip(1).zip(to.chars()) {
            let substituted = diagonal + usize::from(left != right);
            diagonal = *cell;
            *cell = substituted.min(diagonal + 1).min(before + 1);
            before = *cell;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_is_near() {
        let keys = ["idle", "absolute", "parallel_max"];
        assert_eq!(nearest("idel", keys.into_iter()), Some("idle"));
        assert_eq!(nearest("absolut", keys.into_iter()), Some("absolute"));
        assert_eq!(nearest("cookie", keys.into_iter()), None);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }
}
