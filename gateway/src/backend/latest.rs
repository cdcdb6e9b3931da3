//! A value that many sessions have alike, kept once: a service that opens a thousand connections with one token is a
//! thousand times the same to the gateway.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// The value that was seen last, as long as somebody has it.
pub(crate) struct Latest<T>(Mutex<Weak<T>>);

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self(Mutex::new(Weak::new()))
    }
}

impl<T: PartialEq> Latest<T> {
    /// The value itself, or one that is equal in everything and there already.
    pub(crate) fn share(&self, value: Arc<T>) -> Arc<T> {
        let mut latest = self.0.lock();
        if let Some(known) = latest.upgrade().filter(|known| *known == value) {
            return known;
        }
        *latest = Arc::downgrade(&value);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_kept_once() {
        let latest = Latest::default();
        let first = latest.share(Arc::new("a".to_owned()));
        assert!(Arc::ptr_eq(&first, &latest.share(Arc::new("a".to_owned()))));
        let second = latest.share(Arc::new("b".to_owned()));
        assert!(Arc::ptr_eq(&second, &latest.share(Arc::new("b".to_owned()))));
        assert!(!Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn what_nobody_has_is_forgotten() {
        let latest = Latest::default();
        let first = latest.share(Arc::new(1));
        let weak = Arc::downgrade(&first);
        drop(first);
        assert!(weak.upgrade().is_none());
    }
}
