//! What is new in a key set, as one event for each change.

use super::KeySet;
use crate::config::printable;

/// Most keys that one event names.
const MOST_NAMED: usize = 20;
/// How much of a name it repeats, in characters.
const LONGEST_NAME: usize = 100;
/// What a key without a name is called.
const UNNAMED: &str = "(no kid)";

/// Says what differs between a set and the one before it, if anything does. Names only: no key (S5).
pub(super) fn log(place: &str, before: Option<&KeySet>, now: &KeySet) {
    let added = missing_from(before, now);
    let removed = before.map(|before| missing_from(Some(now), before)).unwrap_or_default();
    if !added.is_empty() || !removed.is_empty() {
        let (added, removed) = (listed(&added), listed(&removed));
        tracing::info!(source = printable(place), added, removed, keys = now.len(), "key set changed");
    }
}

/// Says once which keys of a set cannot be used, for each list of them.
pub(super) fn warn_of_skipped(place: &str, before: &[String], now: &[String]) {
    if !now.is_empty() && before != now {
        let skipped = listed(&now[..now.len().min(MOST_NAMED)]);
        tracing::warn!(source = printable(place), count = now.len(), skipped, "keys of the set cannot be used");
    }
}

/// A list as JSON, for logs that are JSON themselves: a field of tracing has no lists.
fn listed(names: &[String]) -> String {
    // Strings can all be written.
    serde_json::to_string(names).unwrap_or_default()
}

/// The names of the keys that are in one set and not in the other.
fn missing_from(other: Option<&KeySet>, set: &KeySet) -> Vec<String> {
    let keys = set.keys.iter().filter(|key| !other.is_some_and(|other| other.keys.contains(key)));
    keys.take(MOST_NAMED).map(|key| key.kid().map_or(UNNAMED.to_owned(), shortened)).collect()
}

/// As much of a name as fits into a message.
pub(super) fn shortened(name: &str) -> String {
    name.chars().take(LONGEST_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Algorithm;
    use crate::keys::key::{Key, KeyKind};

    fn key(kid: &str, content: u8) -> Key {
        Key::from_point(KeyKind::Ed25519, &[content; 32], Some(kid.to_owned()), &Algorithm::ALL).unwrap()
    }

    #[test]
    fn a_key_with_other_content_under_its_old_name_is_a_change() {
        let before = KeySet::new(vec![key("a", 1), key("b", 2)]);
        let now = KeySet::new(vec![key("b", 3), key("a", 1)]);
        assert_eq!(missing_from(Some(&before), &now), ["b"]);
        assert_eq!(missing_from(Some(&now), &before), ["b"]);
        assert_eq!(missing_from(None, &now), ["b", "a"]);
    }

    #[test]
    fn another_order_is_no_change() {
        let before = KeySet::new(vec![key("a", 1), key("b", 2)]);
        let now = KeySet::new(vec![key("b", 2), key("a", 1)]).after(&before);
        assert!(missing_from(Some(&before), &now).is_empty());
        assert_eq!(now.version(), before.version());
    }

    #[test]
    fn names_are_limited() {
        let now = KeySet::new((0..50).map(|number| key(&"k".repeat(5000), number)).collect());
        let named = missing_from(None, &now);
        assert_eq!((named.len(), named[0].len()), (MOST_NAMED, LONGEST_NAME));
    }
}
