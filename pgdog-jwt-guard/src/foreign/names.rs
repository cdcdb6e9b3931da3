//! Names that decide whether a text runs code that is not PostgreSQL's own, kept once for all texts and workers.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use foldhash::fast::RandomState;
use parking_lot::Mutex;

/// Names of one text; with more, it counts as one that may run anything.
const MAX_NAMES: usize = 500;

/// Sets of names that are kept, and bytes of all of them. Beyond, all are forgotten and found again when they are needed.
const MAX_SETS: usize = 16 * 1024;
const MAX_BYTES: usize = 8 << 20;

/// A relation, by its own name alone: which schema it is in depends on the session.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Relation {
    /// Without its schema.
    pub name: Box<str>,
    /// Rows of it may be written.
    pub written: bool,
}

/// See the module. Each list is sorted.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub struct Names {
    /// Tables, views, and what else has rows.
    pub relations: Vec<Relation>,
    /// Functions of PostgreSQL's, which others of that name may stand in front of.
    pub functions: Vec<Box<str>>,
    /// Operators of PostgreSQL's, likewise.
    pub operators: Vec<Box<str>>,
    /// Types.
    pub types: Vec<Box<str>>,
    /// `x` of `t.x`: a column, or a function that takes a row (PostgreSQL documentation, section "Using Composite Types in
    /// Queries").
    pub attributes: Vec<Box<str>>,
}

impl Names {
    pub(super) fn is_empty(&self) -> bool {
        self.relations.is_empty() && self.lists().into_iter().all(|list| list.is_empty())
    }

    fn lists(&self) -> [&Vec<Box<str>>; 4] {
        [&self.functions, &self.operators, &self.types, &self.attributes]
    }

    /// Sorts the names, each once.
    fn settle(&mut self) {
        self.relations.sort_unstable();
        self.relations.dedup();
        for list in [&mut self.functions, &mut self.operators, &mut self.types, &mut self.attributes] {
            list.sort_unstable();
            list.dedup();
        }
    }

    fn len(&self) -> usize {
        self.relations.len() + self.lists().into_iter().map(Vec::len).sum::<usize>()
    }

    /// Bytes that it takes, about.
    fn size(&self) -> usize {
        let relations = self.relations.iter().map(|relation| relation.name.len());
        let others = self.lists().into_iter().flatten().map(|name| name.len());
        size_of::<Self>() + relations.chain(others).map(|length| length + size_of::<Relation>()).sum::<usize>()
    }
}

static KEPT: LazyLock<Mutex<Kept>> = LazyLock::new(|| Mutex::new(Kept::from(1)));

struct Kept {
    /// The number of the first set.
    first: u32,
    numbers: HashMap<Arc<Names>, u32, RandomState>,
    sets: Vec<Arc<Names>>,
    bytes: usize,
}

impl Kept {
    /// None yet.
    fn from(first: u32) -> Self {
        Self { first, numbers: HashMap::default(), sets: Vec::new(), bytes: 0 }
    }
}

/// The number of a set; `None`: it is too large, or there are no numbers any more.
pub(super) fn intern(mut names: Names) -> Option<u32> {
    names.settle();
    if names.len() > MAX_NAMES {
        return None;
    }
    let mut kept = KEPT.lock();
    if let Some(number) = kept.numbers.get(&names) {
        return Some(*number);
    }
    if kept.sets.len() >= MAX_SETS || kept.bytes > MAX_BYTES {
        *kept = Kept::from(kept.first + kept.sets.len() as u32);
    }
    let number = kept.first + kept.sets.len() as u32;
    if number > u32::MAX - 2 * MAX_SETS as u32 {
        return None;
    }
    let names = Arc::new(names);
    kept.bytes += names.size();
    kept.sets.push(names.clone());
    kept.numbers.insert(names, number);
    Some(number)
}

/// The set with this number; `None`: it was forgotten.
pub(super) fn find(number: u32) -> Option<Arc<Names>> {
    let kept = KEPT.lock();
    let at = number.checked_sub(kept.first)?;
    kept.sets.get(at as usize).cloned()
}
