//! Whole numbers: counts, sizes, times and ports.

use std::time::Duration;

use serde_json::{Value, json};
use toml_edit::Item;

use super::{Kind, NO_LIMIT};

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Number,
    /// Bytes.
    Bytes,
    /// Days.
    Days,
    /// Seconds.
    Seconds,
    /// Thousandths of a second.
    Milliseconds,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Number => "integer",
            Self::Bytes => "bytes",
            Self::Days => "days",
            Self::Seconds => "seconds",
            Self::Milliseconds => "milliseconds",
        }
    }
}

/// A whole number, in bounds.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    unit: Unit,
    least: i64,
    most: i64,
}

impl Bounds {
    fn contains(self, number: i64) -> Option<i64> {
        Some(number).filter(|number| (self.least..=self.most).contains(number))
    }

    fn expected(self) -> String {
        match (self.least, self.most) {
            (0, NO_LIMIT) => "a whole number that is not negative".to_owned(),
            (least, NO_LIMIT) => format!("a whole number of at least {least}"),
            (least, most) => format!("a whole number from {least} to {most}"),
        }
    }

    fn schema(self) -> Value {
        let mut schema = json!({ "type": "integer", "minimum": self.least });
        if self.most != NO_LIMIT {
            schema["maximum"] = json!(self.most);
        }
        if self.unit != Unit::Number {
            schema["x-unit"] = json!(self.unit.name());
        }
        schema
    }
}

/// The methods of a kind that is a whole number.
macro_rules! number_kind {
    ($value:ty, $convert:ident) => {
        type Value = $value;
        type Constant = i64;

        fn expected(&self) -> String {
            self.0.expected()
        }

        fn of_item(&self, item: &Item) -> Option<$value> {
            item.as_integer().and_then(|number| self.0.contains(number)).map(|number| self.$convert(number))
        }

        fn of_text(&self, text: &str) -> Option<$value> {
            text.parse().ok().and_then(|number| self.0.contains(number)).map(|number| self.$convert(number))
        }

        fn constant(&self, constant: i64) -> $value {
            self.$convert(constant)
        }

        fn shown(&self, constant: i64) -> Value {
            json!(constant)
        }

        fn schema(&self) -> Value {
            self.0.schema()
        }

        fn type_name(&self) -> String {
            self.0.unit.name().to_owned()
        }
    };
}

/// A count or a size; [`NO_LIMIT`] is [`usize::MAX`].
#[derive(Debug, Clone, Copy)]
pub struct Count(Bounds);

impl Count {
    /// Without an upper bound.
    pub const fn from(least: i64) -> Self {
        Self::within(least, NO_LIMIT)
    }

    /// In bounds.
    pub const fn within(least: i64, most: i64) -> Self {
        Self(Bounds { unit: Unit::Number, least, most })
    }

    /// Of something else than things.
    #[must_use]
    pub const fn of(self, unit: Unit) -> Self {
        Self(Bounds { unit, ..self.0 })
    }

    fn count(self, number: i64) -> usize {
        if number == NO_LIMIT { usize::MAX } else { usize::try_from(number).unwrap_or(usize::MAX) }
    }
}

impl Kind for Count {
    number_kind!(usize, count);
}

/// A time; [`NO_LIMIT`] is [`Duration::MAX`].
#[derive(Debug, Clone, Copy)]
pub struct Time(Bounds);

impl Time {
    /// Milliseconds in bounds; [`NO_LIMIT`] for none.
    pub const fn millis(least: i64, most: i64) -> Self {
        Self(Bounds { unit: Unit::Milliseconds, least, most })
    }

    /// Seconds in bounds; [`NO_LIMIT`] for none.
    pub const fn seconds(least: i64, most: i64) -> Self {
        Self(Bounds { unit: Unit::Seconds, least, most })
    }

    fn time(self, number: i64) -> Duration {
        match (number, self.0.unit) {
            (NO_LIMIT, _) => Duration::MAX,
            (number, Unit::Milliseconds) => Duration::from_millis(number.unsigned_abs()),
            (number, _) => Duration::from_secs(number.unsigned_abs()),
        }
    }
}

impl Kind for Time {
    number_kind!(Duration, time);
}

/// The number of a port; 0 is one that the system chooses.
#[derive(Debug, Clone, Copy)]
pub struct Port(Bounds);

impl Port {
    /// Any.
    pub const ANY: Self = Self(Bounds { unit: Unit::Number, least: 0, most: 65_535 });

    fn port(self, number: i64) -> u16 {
        u16::try_from(number).unwrap_or_default()
    }
}

impl Kind for Port {
    number_kind!(u16, port);
}
