//! Settings that the owner attached to a role: `ALTER ROLE … SET`, also `IN DATABASE`. PostgreSQL applies them when the
//! role logs in. Where an account logs in and becomes the role they are the gateway's to apply: below what the client asks
//! for in its start-up packet, as with PostgreSQL (documentation, ALTER ROLE and section "Parameter Interaction via the
//! Database"). Remembered for a while, so that not every login asks.

mod ask;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::settings::Settings;
use crate::wire::ErrorFields;
pub(super) use ask::{ask, refused};

/// Roles from which on the outdated ones are forgotten.
const SWEEP_AT: usize = 256;

/// What PostgreSQL says of one role in one database.
#[derive(Debug, Default)]
pub(crate) struct RoleSettings {
    /// Those that the role may make and PostgreSQL takes.
    pub(crate) settings: Settings,
    pub(crate) left_out: Vec<LeftOut>,
}

/// A setting that the session does without.
#[derive(Debug)]
pub(crate) struct LeftOut {
    pub(crate) name: String,
    pub(crate) why: Why,
}

/// Why a setting is left out.
#[derive(Debug)]
pub(crate) enum Why {
    /// It could change who the session is, or how its statements are read.
    Guarded,
    /// It belongs to a transaction, or takes effect only while a connection is made.
    OutOfPlace,
    /// The role may not make it: its owner could, for logins of the role itself.
    NotPermitted,
    /// There is more than a session keeps.
    TooMuch,
    /// PostgreSQL does not take the value, and warns of it at a login.
    Refused(ErrorFields),
}

impl Why {
    /// For the log. What PostgreSQL says may have the value in it, which may be a secret.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Guarded => "guarded",
            Self::OutOfPlace => "out_of_place",
            Self::NotPermitted => "not_permitted",
            Self::TooMuch => "too_much",
            Self::Refused(fields) => &fields.code,
        }
    }
}

/// What is known of a role.
pub(crate) enum Known {
    Fresh(Arc<RoleSettings>),
    /// It is time to ask again. Said once: until the answer is there, others take what is known.
    Due(Arc<RoleSettings>),
    Nothing,
}

/// What the servers of one set of pools were asked, by role.
#[derive(Default)]
pub(crate) struct Remembered(Mutex<Table>);

#[derive(Default)]
struct Table {
    entries: HashMap<String, Entry>,
    /// It is swept when it grows to this.
    sweep_at: usize,
}

struct Entry {
    asked: Instant,
    settings: Arc<RoleSettings>,
}

impl Remembered {
    /// `ttl`: how long an answer is good; none is when it is zero.
    pub(crate) fn look(&self, role: &str, ttl: Duration) -> Known {
        let mut table = self.0.lock();
        let Some(entry) = table.entries.get_mut(role).filter(|_| !ttl.is_zero()) else { return Known::Nothing };
        if entry.asked.elapsed() < ttl {
            return Known::Fresh(entry.settings.clone());
        }
        entry.asked = Instant::now();
        Known::Due(entry.settings.clone())
    }

    /// Remembers an answer. Those that the last answer did not leave out are given back: they are news.
    pub(crate) fn note(&self, role: &str, settings: &Arc<RoleSettings>, ttl: Duration) -> Vec<usize> {
        let mut table = self.0.lock();
        if table.entries.len() >= table.sweep_at.max(SWEEP_AT) {
            table.entries.retain(|_, entry| entry.asked.elapsed() < ttl);
            table.sweep_at = table.entries.len() * 2;
        }
        let entry = Entry { asked: Instant::now(), settings: settings.clone() };
        let before = table.entries.insert(role.to_owned(), entry);
        let was_said = |name: &str| {
            before.as_ref().is_some_and(|before| before.settings.left_out.iter().any(|left| left.name == name))
        };
        let all = settings.left_out.iter().enumerate();
        all.filter(|(_, left)| !was_said(&left.name)).map(|(at, _)| at).collect()
    }

    /// They may be others now: the next login of each role asks.
    pub(crate) fn forget(&self) {
        self.0.lock().entries.clear();
    }

    /// The same for one role.
    pub(crate) fn forget_role(&self, role: &str) {
        self.0.lock().entries.remove(role);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn left_out(names: &[&str]) -> Arc<RoleSettings> {
        let left_out = names.iter().map(|name| LeftOut { name: (*name).to_owned(), why: Why::NotPermitted });
        Arc::new(RoleSettings { settings: Settings::default(), left_out: left_out.collect() })
    }

    #[test]
    fn one_login_asks_again_and_the_others_take_what_is_known() {
        let remembered = Remembered::default();
        assert!(matches!(remembered.look("alice", LONG), Known::Nothing));
        remembered.note("alice", &left_out(&[]), LONG);
        assert!(matches!(remembered.look("alice", LONG), Known::Fresh(_)));
        assert!(matches!(remembered.look("alice", Duration::from_nanos(1)), Known::Due(_)));
        assert!(matches!(remembered.look("alice", LONG), Known::Fresh(_)));
        assert!(matches!(remembered.look("alice", Duration::ZERO), Known::Nothing));
        remembered.forget();
        assert!(matches!(remembered.look("alice", LONG), Known::Nothing));
    }

    #[test]
    fn what_is_left_out_is_news_once() {
        let remembered = Remembered::default();
        assert_eq!(remembered.note("alice", &left_out(&["a", "b"]), LONG), [0, 1]);
        assert_eq!(remembered.note("alice", &left_out(&["a", "c"]), LONG), [1]);
        assert_eq!(remembered.note("bob", &left_out(&["a"]), LONG), [0]);
    }

    #[test]
    fn outdated_answers_take_no_room() {
        let remembered = Remembered::default();
        for number in 0..10 * SWEEP_AT {
            remembered.note(&number.to_string(), &left_out(&[]), Duration::ZERO);
        }
        assert!(remembered.0.lock().entries.len() <= SWEEP_AT);
    }
}
