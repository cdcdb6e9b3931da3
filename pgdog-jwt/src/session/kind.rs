//! What the value of a variable must be, so that a cast in a policy cannot fail on it.

/// A kind of value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// Anything.
    #[default]
    Text,
    /// A whole number that fits PostgreSQL's `bigint`.
    Int,
    /// `true` or `false`.
    Bool,
    /// A UUID in its usual form: 8-4-4-4-12 hexadecimal digits.
    Uuid,
    /// JSON.
    Json,
    /// Words, joined by commas.
    Csv,
}

impl Kind {
    /// Whether a value is of this kind.
    pub(crate) fn admits(self, value: &str) -> bool {
        match self {
            Self::Text => true,
            Self::Int => value.parse::<i64>().is_ok(),
            Self::Bool => matches!(value, "true" | "false"),
            Self::Uuid => is_uuid(value),
            Self::Json => serde_json::from_str::<serde::de::IgnoredAny>(value).is_ok(),
            Self::Csv => !value.contains(['"', '\n', '\r']),
        }
    }
}

fn is_uuid(value: &str) -> bool {
    value.len() == 36
        && value.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_knows_its_values() {
        for (kind, good, bad) in [
            (Kind::Int, "-9223372036854775808", "9223372036854775808"),
            (Kind::Int, "7", "7.0"),
            (Kind::Int, "0", ""),
            (Kind::Bool, "true", "TRUE"),
            (Kind::Uuid, "0188d7A0-0000-7000-8000-00000000ffff", "0188d7a000007000800000000000ffff"),
            (Kind::Uuid, "00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-00000000000g"),
            (Kind::Json, "{\"a\":[1]}", "{a}"),
            (Kind::Csv, "a,b", "a,\"b\""),
        ] {
            assert!(kind.admits(good), "{kind:?} {good}");
            assert!(!kind.admits(bad), "{kind:?} {bad}");
        }
        assert!(Kind::Text.admits("'; DROP TABLE x"));
    }
}
