//! A parsed TOML file that knows where everything in it stands, and the report of what is wrong with it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;

use toml_edit::{Document, Item, TableLike, Value};

use super::error::{Problem, Spot};

/// What a pass over the files found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) errors: RefCell<Vec<Problem>>,
    pub(crate) warnings: RefCell<Vec<Problem>>,
    /// Section and key of everything that was asked for.
    pub(crate) honoured: RefCell<BTreeSet<(String, &'static str)>>,
}

impl Report {
    pub(crate) fn error(&self, spot: Spot, reason: impl Into<String>) {
        self.errors.borrow_mut().push(Problem { spot, reason: reason.into() });
    }

    pub(crate) fn warn(&self, spot: Spot, reason: impl Into<String>) {
        self.warnings.borrow_mut().push(Problem { spot, reason: reason.into() });
    }
}

/// A parsed file.
pub(crate) struct File {
    pub(crate) name: String,
    document: Document<String>,
}

impl File {
    /// Parses a file. A syntax error is reported, and nothing of the file is read.
    pub(crate) fn parse(name: &str, text: &str, report: &Report) -> Option<Self> {
        match Document::parse(text.to_owned()) {
            Ok(document) => Some(Self { name: name.to_owned(), document }),
            Err(error) => {
                // Only the message: the full text of the error quotes the line, and a line may hold a password.
                let spot =
                    Spot { file: name.to_owned(), position: error.span().map(|span| position(text, span.start)) };
                report.error(spot, error.message().lines().collect::<Vec<_>>().join(", "));
                None
            }
        }
    }

    pub(crate) fn root(&self) -> &dyn TableLike {
        self.document.as_table()
    }

    pub(crate) fn spot(&self, span: Option<Range<usize>>) -> Spot {
        let position = span.map(|span| position(self.document.raw(), span.start));
        Spot { file: self.name.clone(), position }
    }

    /// Where a key of the root table stands.
    pub(crate) fn root_spot(&self, key: &str) -> Spot {
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
pub(super) type Entry<'a> = (&'a dyn TableLike, Option<Range<usize>>);

/// The tables of `[[name]]`, or of `name = [{ … }]`.
pub(super) fn tables(item: &Item) -> Option<Vec<Entry<'_>>> {
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
