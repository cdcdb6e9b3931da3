//! Moments as people and PostgreSQL write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Reads a moment: RFC 3339 (`2026-01-31T12:00:00Z`), or as PostgreSQL shows it (`2026-01-31 12:00:00.5+00`); without a
/// zone it is UTC, and a day alone begins at midnight. `None` for anything else, and for what lies before 1970.
pub fn parse_moment(text: &str) -> Option<SystemTime> {
    let text = text.trim();
    let mut full = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        _ => text.replacen(' ', "T", 1),
    };
    let clock = full.get(11..)?;
    match clock.rfind(['+', '-']).map(|at| clock.len() - at) {
        Some(3) => full.push_str(":00"),
        Some(_) => {}
        None if clock.ends_with(['Z', 'z']) => {}
        None => full.push('Z'),
    }
    let moment = OffsetDateTime::parse(&full, &Rfc3339).ok()?;
    let seconds = u64::try_from(moment.unix_timestamp()).ok()?;
    UNIX_EPOCH.checked_add(Duration::new(seconds, moment.nanosecond()))
}

/// As RFC 3339 has it, in UTC, with nothing of it lost.
pub(super) fn format_moment(moment: SystemTime) -> String {
    OffsetDateTime::from(moment).format(&Rfc3339).unwrap_or_default()
}
