//! `[[jwt.user_mappings]]`: which user a token is about, where that is not what one claim says.

use super::keys::user_mappings as keys;
use super::section::Section;
use crate::config::{Pattern, UserMapping, UserTemplate};

/// The rules, in the order of the file.
pub(super) fn user_mappings(own: &Section<'_>) -> Vec<UserMapping> {
    let mut mappings = Vec::new();
    for section in own.tables("user_mappings", "[[jwt.user_mappings]]") {
        mappings.extend(mapping(&section));
        section.finish(&[]);
    }
    mappings
}

fn mapping(section: &Section<'_>) -> Option<UserMapping> {
    let (issuer, claim) = (section.given(&keys::ISSUER), section.given(&keys::CLAIM));
    let lowercase = section.value(&keys::LOWERCASE);
    let mode = section.given(&keys::MODE);
    let (pattern, user) = (section.given(&keys::PATTERN), section.given(&keys::USER));
    for (key, is_missing) in [("pattern", pattern.is_none()), ("user", user.is_none())] {
        if is_missing {
            section.report.error(section.spot(key), format!("[[jwt.user_mappings]] needs a \"{key}\""));
        }
    }
    let report = |key: &str, error: String| section.report.error(section.spot(key), format!("\"{key}\" {error}"));
    let pattern = Pattern::new(&pattern?, false).map_err(|error| report("pattern", error.to_string())).ok()?;
    let user = UserTemplate::new(&user?, &pattern).map_err(|error| report("user", error.to_string())).ok()?;
    Some(UserMapping { issuer, claim, pattern, user, lowercase, mode })
}
