//! The identities of clients that share a pool. Equal ones are one value, so that comparing pointers is enough to know
//! whether a connection is already the client's; one that neither a session nor a connection has any more is forgotten.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::identity::Identity;

/// Entries from which on the forgotten ones are looked for.
const SWEEP_AT: usize = 256;

/// See the module.
#[derive(Default)]
pub(crate) struct Identities(Mutex<Table>);

#[derive(Default)]
struct Table {
    entries: HashMap<Identity, Entry>,
    /// It is swept when it grows to this.
    sweep_at: usize,
}

struct Entry {
    identity: Weak<Identity>,
    /// PostgreSQL has taken it for a login.
    confirmed: bool,
}

impl Identities {
    /// The value that stands for this identity.
    pub(super) fn intern(&self, identity: Identity) -> Arc<Identity> {
        let mut table = self.0.lock();
        if let Some(known) = table.entries.get(&identity).and_then(|entry| entry.identity.upgrade()) {
            return known;
        }
        if table.entries.len() >= table.sweep_at.max(SWEEP_AT) {
            table.entries.retain(|_, entry| entry.identity.strong_count() > 0);
            table.sweep_at = table.entries.len() * 2;
        }
        let shared = Arc::new(identity.clone());
        table.entries.insert(identity, Entry { identity: Arc::downgrade(&shared), confirmed: false });
        shared
    }

    /// Whether PostgreSQL has taken a connection for this identity since it is known here.
    pub(crate) fn is_confirmed(&self, identity: &Identity) -> bool {
        self.0.lock().entries.get(identity).is_some_and(|entry| entry.confirmed)
    }

    pub(crate) fn note_confirmed(&self, identity: &Identity) {
        if let Some(entry) = self.0.lock().entries.get_mut(identity) {
            entry.confirmed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(role: &str) -> Identity {
        Identity { role: Some(role.to_owned()), watched: true, ..Identity::default() }
    }

    #[test]
    fn equal_identities_are_one_value_while_somebody_has_it() {
        let identities = Identities::default();
        let alice = identities.intern(of("alice"));
        identities.note_confirmed(&alice);
        assert!(Arc::ptr_eq(&alice, &identities.intern(of("alice"))));
        assert!(!Arc::ptr_eq(&alice, &identities.intern(of("bob"))));
        assert!(identities.is_confirmed(&alice));

        drop(alice);
        let again = identities.intern(of("alice"));
        assert!(!identities.is_confirmed(&again), "who was gone is confirmed anew");
    }

    #[test]
    fn what_nobody_has_takes_no_room() {
        let identities = Identities::default();
        let kept = identities.intern(of("kept"));
        for number in 0..10 * SWEEP_AT {
            identities.intern(of(&number.to_string()));
        }
        assert!(identities.0.lock().entries.len() <= SWEEP_AT);
        assert!(Arc::ptr_eq(&kept, &identities.intern(of("kept"))));
    }
}
