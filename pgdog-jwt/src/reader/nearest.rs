//! Names that were meant.

/// `; did you mean "…"?` when a known name is close enough to be what was meant: few letters differ, or one part of several.
pub fn nearest<'k>(key: &str, known: impl Iterator<Item = &'k str>) -> String {
    known
        .map(|name| (strsim::damerau_levenshtein(key, name), name))
        .filter(|(distance, name)| *distance <= 2.max(name.len() / 3) || differ_in_the_last_part(key, name))
        .min()
        .map_or_else(String::new, |(_, name)| format!("; did you mean \"{name}\"?"))
}

/// `load_balancing_algorithm` and `load_balancing_strategy`: of three parts or more.
fn differ_in_the_last_part(one: &str, other: &str) -> bool {
    let beginning = |name: &str| name.rsplit_once('_').map(|(beginning, _)| beginning.to_owned());
    beginning(one).is_some_and(|begins| begins.contains('_') && beginning(other).as_ref() == Some(&begins))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(key: &str) -> String {
        nearest(key, ["load_balancing_strategy", "load_schema", "port", "tls_private_key"].into_iter())
    }

    #[test]
    fn what_was_meant_is_named_and_nothing_else() {
        assert_eq!(hint("load_balancing_algorithm"), "; did you mean \"load_balancing_strategy\"?");
        assert_eq!(hint("porrt"), "; did you mean \"port\"?");
        assert_eq!(hint("load_everything"), "");
        assert_eq!(hint("tls_certificate"), "");
    }
}
