//! Reading TOML tables key by key, remembering where everything stood.
//!
//! A [`Section`] is asked for each key that the gateway honours. At the end it knows which keys of the file nobody asked
//! for, so a list of known keys never drifts from the code that reads them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;

use toml_edit::{Item, TableLike};

use super::file::{File, Report, tables};
use super::nearest::nearest;
use crate::config::Spot;

/// Looks up an environment variable.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// One table of a file, being read.
pub struct Section<'a> {
    /// What is wrong with it goes here.
    pub report: &'a Report,
    /// As it is written: `[general]`, `[[users]]`.
    label: &'static str,
    file: Option<&'a File>,
    table: Option<&'a dyn TableLike>,
    header: Spot,
    env: Option<Env<'a>>,
    asked: RefCell<BTreeSet<&'static str>>,
    /// Keys that are tables, which have keys of their own.
    nested: RefCell<BTreeSet<&'static str>>,
}

enum Found<'a> {
    File(&'a Item),
    Env(String),
}

impl<'a> Section<'a> {
    /// A table of a file, or an absent one, in which every key has its default.
    pub fn new(report: &'a Report, label: &'static str, file: Option<&'a File>, item: Option<&'a Item>) -> Self {
        let name = file.map_or_else(String::new, |file| file.name.clone());
        let table = item.and_then(Item::as_table_like);
        let header = match (file, item) {
            (Some(file), Some(item)) => file.spot(item.span()),
            _ => Spot::whole(name),
        };
        if item.is_some() && table.is_none() {
            report.error(header.clone(), format!("{label} must be a table"));
        }
        let (asked, nested) = Default::default();
        Self { report, label, file, table, header, env: None, asked, nested }
    }

    /// One of several tables of a name.
    pub fn of_table(
        report: &'a Report,
        label: &'static str,
        file: &'a File,
        table: &'a dyn TableLike,
        span: Option<Range<usize>>,
    ) -> Self {
        let header = file.spot(span);
        let (asked, nested) = Default::default();
        Self { report, label, file: Some(file), table: Some(table), header, env: None, asked, nested }
    }

    /// A table inside of this one, or an absent one.
    pub fn table(&self, key: &'static str, label: &'static str) -> Section<'a> {
        self.nested.borrow_mut().insert(key);
        Section::new(self.report, label, self.file, self.table.and_then(|table| table.get(key)))
    }

    /// All keys of a table whose keys are not known beforehand, and where each stands.
    pub fn entries(&self) -> Vec<(&'a str, &'a Item, Spot)> {
        let entries = self.table.into_iter().flat_map(TableLike::iter);
        entries.map(|(key, item)| (key, item, self.spot(key))).collect()
    }

    /// The tables of a list inside of this one.
    pub fn tables(&self, key: &'static str, label: &'static str) -> Vec<Section<'a>> {
        self.nested.borrow_mut().insert(key);
        let (Some(file), Some(item)) = (self.file, self.table.and_then(|table| table.get(key))) else {
            return Vec::new();
        };
        let Some(tables) = tables(item) else {
            self.report.error(self.spot(key), format!("\"{key}\" must be a list of tables: write {label}"));
            return Vec::new();
        };
        let section = |(table, span)| Section::of_table(self.report, label, file, table, span);
        tables.into_iter().map(section).collect()
    }

    /// The table inside of this one, or the tables of a list: either may be written.
    pub fn table_or_tables(&self, key: &'static str, label: &'static str) -> Vec<Section<'a>> {
        match self.table.and_then(|table| table.get(key)) {
            Some(item) if item.is_table_like() => vec![self.table(key, label)],
            _ => self.tables(key, label),
        }
    }

    /// The environment, where it gives defaults.
    pub fn env(&self) -> Env<'a> {
        self.env.unwrap_or(&|_| None)
    }

    /// An environment variable by its whole name; an empty one counts as absent.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.env?(name).filter(|value| !value.is_empty())
    }

    /// Lets `PGDOG_<KEY>` give the default of every key that the file does not set.
    pub fn with_env(mut self, env: Env<'a>) -> Self {
        self.env = Some(env);
        self
    }

    /// As it is written: `[general]`, `[[users]]`.
    pub fn label(&self) -> &'static str {
        self.label
    }

    /// Whether the file has this section.
    pub fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Where the section begins.
    pub fn place(&self) -> Spot {
        self.header.clone()
    }

    /// Whether the file sets this key.
    pub fn is_present_key(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// The keys that the file has.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.table.into_iter().flat_map(TableLike::iter).map(|(key, _)| key)
    }

    /// Where a key stands; where the section stands when the key is absent.
    pub fn spot(&self, key: &str) -> Spot {
        let entry = self.table.and_then(|table| table.get_key_value(key));
        match (self.file, entry) {
            (Some(file), Some((key, item))) => file.spot(key.span().or_else(|| item.span())),
            _ if self.env_value(key).is_some() => Spot::whole(env_name(key)),
            _ => self.header.clone(),
        }
    }

    fn env_value(&self, key: &str) -> Option<String> {
        let value = self.env?(&env_name(key))?;
        // Kubernetes sets PGDOG_PORT=tcp://… in every pod beside a service that is called "pgdog".
        if value.is_empty() || (key == "port" && value.starts_with("tcp://")) { None } else { Some(value) }
    }

    fn find(&self, key: &'static str) -> Option<Found<'a>> {
        self.asked.borrow_mut().insert(key);
        match self.table.and_then(|table| table.get(key)) {
            Some(item) => Some(Found::File(item)),
            None => self.env_value(key).map(Found::Env),
        }
    }

    /// The value of a key, from the file or the environment. A value that is not `expected` is reported, not repeated.
    pub fn get<T>(
        &self,
        key: &'static str,
        expected: &str,
        from_file: impl Fn(&Item) -> Option<T>,
        from_env: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let found = self.find(key)?;
        let value = match &found {
            Found::File(item) => from_file(item),
            Found::Env(text) => from_env(text),
        };
        if value.is_none() {
            let name = match found {
                Found::File(_) => format!("\"{key}\" in {}", self.label),
                Found::Env(_) => format!("\"{key}\""),
            };
            self.report.error(self.spot(key), format!("{name} must be {expected}"));
        }
        value
    }

    /// Reports the keys that nobody asked for: those that PgDog knows as unused, the others as errors. So are those that the
    /// host cannot honour.
    pub fn finish(self, unused: &[&'static str]) {
        let (asked, nested) = (self.asked.into_inner(), self.nested.into_inner());
        let known = || asked.iter().chain(&nested).copied();
        if let (Some(file), Some(table)) = (self.file, self.table) {
            for (key, item) in table.iter() {
                let span = table.get_key_value(key).and_then(|(key, _)| key.span()).or_else(|| item.span());
                let reason = format!("\"{key}\" in {}", self.label);
                let host = &self.report.host;
                if !host.honours(self.label, key) {
                    self.report.error(file.spot(span), format!("{} cannot honour {reason}", host.name));
                    continue;
                }
                if known().any(|known| known == key) {
                    continue;
                }
                if unused.contains(&key) {
                    self.report.warn(file.spot(span), format!("{reason} is not used here"));
                } else {
                    let hint = nearest(key, known().chain(unused.iter().copied()));
                    self.report.error(file.spot(span), format!("unknown key {reason}{hint}"));
                }
            }
        }
        let mut honoured = self.report.honoured.borrow_mut();
        honoured.extend(asked.into_iter().map(|key| (self.label.to_owned(), key)));
    }
}

fn env_name(key: &str) -> String {
    format!("PGDOG_{}", key.to_ascii_uppercase())
}
