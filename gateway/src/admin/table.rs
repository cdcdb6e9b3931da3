//! A table as it goes to a client: columns with types, so that psql aligns numbers and drivers get what they expect, in
//! text or in binary (asyncpg and pgJDBC ask for binary).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::cli::time::date;
use crate::wire::{frame, message};

/// Seconds from 1970 to 2000, where PostgreSQL's time begins.
const POSTGRES_EPOCH: i64 = 946_684_800;

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Int,
    Float,
    Bool,
    Time,
}

impl Kind {
    /// Number and size of PostgreSQL's type (`pg_type.dat`): text, bigint, double precision, boolean, timestamptz.
    fn oid_and_size(self) -> (u32, i16) {
        match self {
            Self::Text => (25, -1),
            Self::Int => (20, 8),
            Self::Float => (701, 8),
            Self::Bool => (16, 1),
            Self::Time => (1184, 8),
        }
    }
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Time(SystemTime),
}

impl Value {
    /// A whole number of any size.
    pub(super) fn int(number: impl TryInto<i64>) -> Self {
        Self::Int(number.try_into().unwrap_or(i64::MAX))
    }

    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// NULL for nothing.
    pub(super) fn maybe(text: Option<&str>) -> Self {
        text.map_or(Self::Null, Self::text)
    }

    /// Milliseconds with three digits behind the point.
    pub(super) fn millis(nanos: u64) -> Self {
        Self::Float((nanos / 1_000) as f64 / 1e3)
    }

    pub(super) fn time(time: Option<SystemTime>) -> Self {
        time.map_or(Self::Null, Self::Time)
    }

    pub(super) fn as_text(&self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Text(text) => Some(text.clone()),
            Self::Int(number) => Some(number.to_string()),
            Self::Float(number) => Some(format!("{number:.3}")),
            Self::Bool(value) => Some(if *value { "t" } else { "f" }.to_owned()),
            Self::Time(time) => Some(timestamp(*time)),
        }
    }

    fn as_binary(&self) -> Option<Vec<u8>> {
        match self {
            Self::Int(number) => Some(number.to_be_bytes().to_vec()),
            Self::Float(number) => Some(number.to_be_bytes().to_vec()),
            Self::Bool(value) => Some(vec![u8::from(*value)]),
            Self::Time(time) => {
                Some((since_1970(*time).as_micros() as i64 - POSTGRES_EPOCH * 1_000_000).to_be_bytes().to_vec())
            }
            Self::Null | Self::Text(_) => self.as_text().map(String::into_bytes),
        }
    }
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `2026-02-03 04:05:06.789+00`, as PostgreSQL writes it in UTC.
fn timestamp(time: SystemTime) -> String {
    let since = since_1970(time);
    let seconds = i64::try_from(since.as_secs()).ok().and_then(date);
    let seconds = seconds.as_deref().and_then(|text| text.strip_suffix(" UTC")).unwrap_or("infinity");
    format!("{seconds}.{:03}+00", since.subsec_millis())
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    pub(super) columns: Vec<(&'static str, Kind)>,
    pub(super) rows: Vec<Vec<Value>>,
}

impl Table {
    pub(super) fn new(columns: &[(&'static str, Kind)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// One column, one row.
    pub(super) fn one(name: &'static str, kind: Kind, value: Value) -> Self {
        Self { columns: vec![(name, kind)], rows: vec![vec![value]] }
    }

    pub(super) fn push(&mut self, row: Vec<Value>) {
        debug_assert_eq!(row.len(), self.columns.len());
        self.rows.push(row);
    }

    /// Appends the RowDescription.
    pub(super) fn describe(&self, formats: &Formats, out: &mut Vec<u8>) {
        let start = frame::begin(out, b'T');
        out.extend_from_slice(&(self.columns.len() as u16).to_be_bytes());
        for (at, (name, kind)) in self.columns.iter().enumerate() {
            let (oid, size) = kind.oid_and_size();
            message::cstr(out, name.as_bytes());
            // Of no table: number and column are 0.
            out.extend_from_slice(&[0; 6]);
            out.extend_from_slice(&oid.to_be_bytes());
            out.extend_from_slice(&size.to_be_bytes());
            out.extend_from_slice(&(-1i32).to_be_bytes());
            out.extend_from_slice(&u16::from(formats.is_binary(at)).to_be_bytes());
        }
        frame::end(out, start);
    }

    /// Appends the rows.
    pub(super) fn write(&self, formats: &Formats, out: &mut Vec<u8>) {
        for row in &self.rows {
            let start = frame::begin(out, b'D');
            out.extend_from_slice(&(row.len() as u16).to_be_bytes());
            for (at, value) in row.iter().enumerate() {
                let bytes = match formats.is_binary(at) {
                    true => value.as_binary(),
                    false => value.as_text().map(String::into_bytes),
                };
                match bytes {
                    Some(bytes) => {
                        out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
                        // What a client sent may hold anything but NUL, which no start-up packet can carry.
                        out.extend_from_slice(&bytes);
                    }
                    None => out.extend_from_slice(&(-1i32).to_be_bytes()),
                }
            }
            frame::end(out, start);
        }
    }
}

/// Which columns a client wants in binary: none, all of them, or as listed (PostgreSQL documentation, message Bind).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Formats(pub(super) Vec<u16>);

impl Formats {
    fn is_binary(&self, column: usize) -> bool {
        match self.0.as_slice() {
            [] => false,
            [all] => *all == 1,
            each => each.get(column) == Some(&1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [(&str, Kind); 2] = [("name", Kind::Text), ("count", Kind::Int)];

    #[test]
    fn a_row_reads_back() {
        let mut table = Table::new(&COLUMNS);
        table.push(vec![Value::text("a"), Value::int(7)]);
        table.push(vec![Value::Null, Value::int(-1)]);
        let mut out = Vec::new();
        table.write(&Formats::default(), &mut out);
        assert_eq!(out, b"D\0\0\0\x10\0\x02\0\0\0\x01a\0\0\0\x017D\0\0\0\x10\0\x02\xff\xff\xff\xff\0\0\0\x02-1");
    }

    #[test]
    fn columns_come_in_the_format_that_was_asked_for() {
        let table = Table::one("count", Kind::Int, Value::int(7));
        let mut out = Vec::new();
        table.write(&Formats(vec![1]), &mut out);
        assert_eq!(&out[5..], b"\0\x01\0\0\0\x08\0\0\0\0\0\0\0\x07");
    }

    #[test]
    fn times_are_written_as_postgresql_writes_them() {
        let time = UNIX_EPOCH + Duration::from_millis(1_770_091_506_789);
        assert_eq!(Value::Time(time).as_text().as_deref(), Some("2026-02-03 04:05:06.789+00"));
        let micros = (1_770_091_506_789i64 - 946_684_800_000) * 1_000;
        assert_eq!(Value::Time(time).as_binary(), Some(micros.to_be_bytes().to_vec()));
    }
}
