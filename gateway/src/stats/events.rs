//! Rare events, counted at once in numbers that all share. Every label is one of a list that is known beforehand, so
//! that nothing a client sends can make the lists grow (S9).

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Error classes of PostgreSQL (appendix "PostgreSQL Error Codes"); the last takes what is in none of them.
pub(crate) const CLASSES: [&str; 44] = [
    "01", "02", "03", "08", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "10", "20", "21", "22", "23", "24", "25", "26",
    "27", "28", "2B", "2D", "2F", "34", "38", "39", "3B", "3D", "3F", "40", "42", "44", "53", "54", "55", "57", "58",
    "72", "F0", "HV", "P0", "XX", "other",
];

/// Whose error it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Server,
    Gateway,
}

impl Origin {
    pub(crate) const ALL: [Self; 2] = [Self::Server, Self::Gateway];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Gateway => "gateway",
        }
    }
}

static ERRORS: [[AtomicU64; CLASSES.len()]; 2] = [const { [const { AtomicU64::new(0) }; CLASSES.len()] }; 2];

/// Logins by reason; accepted ones have none. Reasons are words of the program.
static LOGINS: LazyLock<Mutex<BTreeMap<Option<&'static str>, u64>>> = LazyLock::new(Mutex::default);

/// Changes to roles by what was done. Actions are words of the program.
static ROLE_CHANGES: LazyLock<Mutex<BTreeMap<&'static str, u64>>> = LazyLock::new(Mutex::default);

static RELOADS: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// A client heard an error with this SQLSTATE.
pub(crate) fn error(origin: Origin, code: &[u8]) {
    let class = code.get(..2).unwrap_or_default();
    let at = CLASSES.iter().position(|known| known.as_bytes() == class).unwrap_or(CLASSES.len() - 1);
    if let Some(count) = ERRORS.get(origin as usize).and_then(|classes| classes.get(at)) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Errors so far, without the classes that did not happen.
pub(crate) fn errors() -> Vec<(Origin, &'static str, u64)> {
    let of = |origin: Origin| {
        let counts = ERRORS.get(origin as usize).into_iter().flatten().map(|count| count.load(Ordering::Relaxed));
        CLASSES.iter().zip(counts).map(move |(class, count)| (origin, *class, count))
    };
    Origin::ALL.into_iter().flat_map(of).filter(|(_, _, count)| *count > 0).collect()
}

/// A login was decided: refused for this reason, or accepted.
pub(crate) fn login(refused: Option<&'static str>) {
    *LOGINS.lock().entry(refused).or_default() += 1;
}

/// Logins so far.
pub(crate) fn logins() -> Vec<(Option<&'static str>, u64)> {
    LOGINS.lock().iter().map(|(reason, count)| (*reason, *count)).collect()
}

/// A role of a subject was changed, or could not be.
pub(crate) fn role_change(action: &'static str) {
    *ROLE_CHANGES.lock().entry(action).or_default() += 1;
}

/// Changes to roles so far.
pub(crate) fn role_changes() -> Vec<(&'static str, u64)> {
    ROLE_CHANGES.lock().iter().map(|(action, count)| (*action, *count)).collect()
}

static REVOKED_SESSIONS: AtomicU64 = AtomicU64::new(0);

/// Sessions were ended because their tokens were revoked.
pub(crate) fn revoked_sessions(count: usize) {
    REVOKED_SESSIONS.fetch_add(count as u64, Ordering::Relaxed);
}

/// How many there were so far.
pub(crate) fn all_revoked_sessions() -> u64 {
    REVOKED_SESSIONS.load(Ordering::Relaxed)
}

static DESYNCS: AtomicU64 = AtomicU64::new(0);

/// A server gave a reply that nothing asked for, and its connection was closed.
pub(crate) fn desync() {
    DESYNCS.fetch_add(1, Ordering::Relaxed);
}

/// How many there were so far.
pub(crate) fn desyncs() -> u64 {
    DESYNCS.load(Ordering::Relaxed)
}

/// What came of running the program of a secret again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    Changed,
    Unchanged,
    Failed,
}

impl Renewal {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Changed, "changed"), (Self::Unchanged, "unchanged"), (Self::Failed, "failed")];
}

static SECRET_RENEWALS: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// The program of a secret was run again.
pub(crate) fn secret_renewal(outcome: Renewal) {
    if let Some(count) = SECRET_RENEWALS.get(outcome as usize) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// How often so far, by what came of it.
pub(crate) fn secret_renewals() -> impl Iterator<Item = (&'static str, u64)> {
    Renewal::ALL.iter().zip(&SECRET_RENEWALS).map(|((_, name), count)| (*name, count.load(Ordering::Relaxed)))
}

/// The configuration was read again.
pub(crate) fn reload(accepted: bool) {
    if let Some(count) = RELOADS.get(usize::from(accepted)) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reloads so far: accepted, refused.
pub(crate) fn reloads() -> (u64, u64) {
    let [refused, accepted] = &RELOADS;
    (accepted.load(Ordering::Relaxed), refused.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(class: &str) -> u64 {
        errors().iter().filter(|(_, known, _)| *known == class).map(|(_, _, count)| count).sum()
    }

    #[test]
    fn no_code_makes_a_class_of_its_own() {
        let before = count("other");
        for code in [&b"ZZ999"[..], b"", b"4", b"\xff\xff\xff"] {
            error(Origin::Server, code);
        }
        assert_eq!(count("other"), before + 4);
    }

    #[test]
    fn classes_are_told_apart() {
        let before = count("23");
        error(Origin::Gateway, b"23505");
        assert_eq!(count("23"), before + 1);
    }
}
