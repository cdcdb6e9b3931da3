//! What code a text may run that is not PostgreSQL's own. A function, wherever it is reached from, may leave what no text
//! shows: a role, settings, temporary objects, locks.
//!
//! The text by itself says that it runs none, that it may run some, or by which names that has to be decided
//! ([`collect`]): what those names stand for is known to the database alone (`backend/catalogue.rs`).

mod collect;
mod names;
#[cfg(test)]
#[cfg(feature = "pg_query")]
mod tests;

use std::sync::Arc;

pub(super) use collect::collect;
pub use names::{Names, Relation};

/// See the module. A number, so that a class stays small and can be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(u32);

impl Code {
    /// Nothing but PostgreSQL's own.
    pub const OWN: Self = Self(0);
    /// Whatever there is.
    pub const FOREIGN: Self = Self(u32::MAX);

    /// That of these names: nothing but PostgreSQL's own if none of them leads further.
    fn of(names: Names) -> Self {
        if names.is_empty() { Self::OWN } else { names::intern(names).map_or(Self::FOREIGN, Self) }
    }

    /// Whether it may run something else, for all that the text says.
    #[inline]
    pub fn may_be_foreign(self) -> bool {
        self != Self::OWN
    }

    /// The number of its names; `None`: there are none to look at.
    #[inline]
    pub fn number(self) -> Option<u32> {
        (self != Self::OWN && self != Self::FOREIGN).then_some(self.0)
    }

    /// The names that decide; `None`: they were forgotten, and the text must be read again.
    pub fn names(self) -> Option<Arc<Names>> {
        names::find(self.0)
    }

    /// The same for a text with parameters of these types, as a Parse message lists them: a value of a type that is not
    /// PostgreSQL's own runs the code of that type.
    pub fn with_parameters(self, types: &[u8]) -> Self {
        let oids = types.get(2..).unwrap_or_default().as_chunks().0;
        let is_foreign = |oid: &[u8; 4]| u32::from_be_bytes(*oid) >= FIRST_FOREIGN;
        if oids.iter().any(is_foreign) { Self::FOREIGN } else { self }
    }
}

/// Objects that come with PostgreSQL have lower numbers (`FirstNormalObjectId` in its `transam.h`).
const FIRST_FOREIGN: u32 = 16_384;
