//! Names that were meant.

/// `; did you mean "…"?` when a known name is close enough to be what was meant.
pub fn nearest<'k>(key: &str, known: impl Iterator<Item = &'k str>) -> String {
    known
        .map(|name| (strsim::damerau_levenshtein(key, name), name))
        .min()
        .filter(|(distance, name)| *distance <= 2.max(name.len() / 3))
        .map_or_else(String::new, |(_, name)| format!("; did you mean \"{name}\"?"))
}
