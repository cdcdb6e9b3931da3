//! A parsed TOML file that knows where everything in it stands, and the report of what is wrong with it.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use serde::Serialize;
use toml_edit::{Document, DocumentMut, Item, TableLike, Value};

use super::host::Host;
use crate::config::{Problem, Spot};
use crate::secret::{Command, Secret};

/// What a pass over the files found.
#[derive(Debug, Default)]
pub struct Report {
    /// Whose configuration it is.
    pub host: Host,
    /// What makes the configuration unusable.
    pub errors: RefCell<Vec<Problem>>,
    /// What its owner should know.
    pub warnings: RefCell<Vec<Problem>>,
    /// Section and key of everything that was asked for.
    pub honoured: RefCell<BTreeSet<(String, &'static str)>>,
    /// What programs have printed.
    pub(super) programs: RefCell<HashMap<Command, Result<Secret, String>>>,
}

impl Report {
    /// For a host that does not honour everything.
    pub fn of(host: Host) -> Self {
        Self { host, ..Self::default() }
    }

    /// Adds an error.
    pub fn error(&self, spot: Spot, reason: impl Into<String>) {
        self.errors.borrow_mut().push(Problem { spot, reason: reason.into() });
    }

    /// Adds a warning.
    pub fn warn(&self, spot: Spot, reason: impl Into<String>) {
        self.warnings.borrow_mut().push(Problem { spot, reason: reason.into() });
    }
}

/// A parsed file.
pub struct File {
    /// Its name in messages.
    pub name: String,
    content: Content,
}

enum Content {
    Text(Document<String>),
    /// What a host has read itself: nobody knows where it stands.
    Value(DocumentMut),
}

impl File {
    /// Parses a file. A syntax error is reported, and nothing of the file is read.
    pub fn parse(name: &str, text: &str, report: &Report) -> Option<Self> {
        match Document::parse(text.to_owned()) {
            Ok(document) => Some(Self { name: name.to_owned(), content: Content::Text(document) }),
            Err(error) => {
                // Only the message: the full text of the error quotes the line, and a line may hold a password.
                let spot =
                    Spot { file: name.to_owned(), position: error.span().map(|span| position(text, span.start)) };
                report.error(spot, error.message().lines().collect::<Vec<_>>().join(", "));
                None
            }
        }
    }

    /// What a host has read already: a `toml::Table`, or anything else that is a table to serde. Problems name the file and no
    /// line.
    pub fn of_value(name: &str, value: &impl Serialize, report: &Report) -> Option<Self> {
        match toml_edit::ser::to_document(value) {
            Ok(document) => Some(Self { name: name.to_owned(), content: Content::Value(document) }),
            // Not the error itself, which may quote a value.
            Err(_) => {
                report.error(Spot::whole(name), "the settings are no table that TOML could hold");
                None
            }
        }
    }

    /// Its tables and keys.
    pub fn root(&self) -> &dyn TableLike {
        match &self.content {
            Content::Text(document) => document.as_table(),
            Content::Value(document) => document.as_table(),
        }
    }

    /// Where a piece of the text begins.
    pub fn spot(&self, span: Option<Range<usize>>) -> Spot {
        let position = match &self.content {
            Content::Text(document) => span.map(|span| position(document.raw(), span.start)),
            Content::Value(_) => None,
        };
        Spot { file: self.name.clone(), position }
    }

    /// Where a key of the root table stands.
    pub fn root_spot(&self, key: &str) -> Spot {
        let item = self.root().get_key_value(key);
        self.spot(item.and_then(|(key, item)| key.span().or_else(|| first_table_span(item))))
    }
}

/// The span of a table, or of the first of several.
fn first_table_span(item: &Item) -> Option<Range<usize>> {
    item.as_array_of_tables().and_then(|tables| tables.iter().next()).map_or_else(|| item.span(), |table| table.span())
}

/// Line and column of a byte offset, both from 1; columns count characters.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (line, before.get(start..).unwrap_or("").chars().count() + 1)
}

/// A table of a list, and where it stands.
pub type Entry<'a> = (&'a dyn TableLike, Option<Range<usize>>);

/// The tables of `[[name]]`, or of `name = [{ … }]`.
pub fn tables(item: &Item) -> Option<Vec<Entry<'_>>> {
    match item {
        Item::ArrayOfTables(tables) => {
            Some(tables.iter().map(|table| (table as &dyn TableLike, table.span())).collect())
        }
        Item::Value(Value::Array(array)) => array
            .iter()
            .map(|value| value.as_inline_table().map(|table| (table as &dyn TableLike, table.span())))
            .collect(),
        _ => None,
    }
}
