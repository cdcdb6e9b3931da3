//! The names of a database that are plain: they lead to PostgreSQL's own code alone.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use pgdog_jwt_guard::Names;
use pgdog_jwt_guard::functions::is_own_function;

use super::catalogue_sql::{LOOK, MOST_NAMES};
use super::connection::Connection;
use super::conversation::{Answer, ConversationError, PLAINLY, UNHURRIED};

/// See the module.
pub(super) struct Known {
    /// There were more names than are kept: none is plain.
    pub(super) is_too_large: bool,
    /// Plain relations, and whether they are so for who writes to them.
    relations: HashMap<Box<str>, bool, RandomState>,
    /// Functions that are not PostgreSQL's, and have the name of one that is.
    functions: HashSet<Box<str>, RandomState>,
    /// Functions that may be written as an attribute.
    attributes: HashSet<Box<str>, RandomState>,
    /// Plain ones.
    operators: HashSet<Box<str>, RandomState>,
    types: HashSet<Box<str>, RandomState>,
}

impl Known {
    /// Asks. The caller sets the time limit.
    pub(super) async fn ask(connection: &mut Connection) -> Result<Self, ConversationError> {
        let answer = connection.query_unhurried(&format!("{PLAINLY}{UNHURRIED}{}", *LOOK)).await?;
        Ok(Self::read(answer))
    }

    fn read(answer: Answer) -> Self {
        let is_too_large = answer.rows.len() >= MOST_NAMES;
        let mut known = Self {
            is_too_large,
            relations: HashMap::default(),
            functions: HashSet::default(),
            attributes: HashSet::default(),
            operators: HashSet::default(),
            types: HashSet::default(),
        };
        if is_too_large {
            return known;
        }
        for row in answer.rows {
            let [Some(kind), Some(name)] = row.as_slice() else { continue };
            let name = Box::from(name.as_str());
            match kind.as_str() {
                "r" => drop(known.relations.insert(name, false)),
                "w" => drop(known.relations.insert(name, true)),
                "f" if is_own_function(&name) => drop(known.functions.insert(name)),
                "a" => drop(known.attributes.insert(name)),
                "o" => drop(known.operators.insert(name)),
                "t" => drop(known.types.insert(name)),
                _ => {}
            }
        }
        known
    }

    /// Plain names of relations.
    pub(super) fn len(&self) -> usize {
        self.relations.len()
    }

    /// Whether every name is plain that was so before.
    pub(super) fn is_as_plain_as(&self, before: &Self) -> bool {
        let is_still = |(name, plain)| self.relations.get(name).is_some_and(|now| now >= plain);
        before.relations.iter().all(is_still)
            && self.functions.is_subset(&before.functions)
            && self.attributes.is_subset(&before.attributes)
            && before.operators.is_subset(&self.operators)
            && before.types.is_subset(&self.types)
    }

    /// Whether they lead to nothing but PostgreSQL's own code.
    pub(super) fn is_plain(&self, names: &Names) -> bool {
        let is_plain_to_write = |name: &str| self.relations.get(name).copied();
        names.relations.iter().all(|it| is_plain_to_write(&it.name).is_some_and(|plain| plain || !it.written))
            && names.functions.iter().all(|name| !self.functions.contains(name))
            && names.attributes.iter().all(|name| !self.attributes.contains(name))
            && names.operators.iter().all(|name| self.operators.contains(name))
            && names.types.iter().all(|name| self.types.contains(name))
            && !self.is_too_large
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgdog_jwt_guard::{Account, Classifier, GuardMode, PgQuery, Policy, Protected, ReadWriteStrategy};

    fn known(rows: &[(&str, &str)]) -> Known {
        let row = |(kind, name): &(&str, &str)| vec![Some((*kind).to_owned()), Some((*name).to_owned())];
        Known::read(Answer::of(rows.iter().map(row).collect()))
    }

    fn is_plain(known: &Known, sql: &str) -> bool {
        let policy = Policy {
            guard: GuardMode::Off,
            identity: false,
            account: Account::Named,
            strategy: ReadWriteStrategy::Conservative,
            protected: Protected::default(),
            cache_limit: 10,
            max_words: 1_000,
            dialect: crate::dialect::DIALECT,
        };
        let code = Classifier::new(policy, &PgQuery).classify(sql.as_bytes()).code;
        code.number().is_some_and(|_| known.is_plain(&code.names().unwrap()))
    }

    #[test]
    fn a_text_is_plain_when_all_its_names_are() {
        let rows =
            [("w", "t"), ("r", "noted"), ("f", "lower"), ("f", "mine"), ("a", "full_name"), ("o", "="), ("t", "int4")];
        let known = known(&rows);
        for plain in [
            "SELECT * FROM t",
            "SELECT upper(a) FROM t WHERE a = 1",
            "SELECT t.a::int FROM t",
            "INSERT INTO t SELECT * FROM noted",
        ] {
            assert!(is_plain(&known, plain), "{plain}");
        }
        for foreign in [
            "SELECT * FROM unheard_of",
            "DELETE FROM noted",
            "SELECT lower(a) FROM t",
            "SELECT mine()",
            "SELECT t.full_name FROM t",
            "SELECT 1 + 1",
            "SELECT 1::color",
        ] {
            assert!(!is_plain(&known, foreign), "{foreign}");
        }
    }

    #[test]
    fn a_name_that_leads_further_than_before_is_a_surprise() {
        let before = known(&[("w", "t"), ("f", "lower"), ("o", "="), ("t", "int4")]);
        let is_as_plain = |rows: &[(&str, &str)]| known(rows).is_as_plain_as(&before);
        assert!(is_as_plain(&[("w", "t"), ("w", "u"), ("o", "="), ("t", "int4")]));
        assert!(!is_as_plain(&[("r", "t"), ("o", "="), ("t", "int4")]));
        assert!(!is_as_plain(&[("o", "="), ("t", "int4")]));
        assert!(!is_as_plain(&[("w", "t"), ("f", "lower"), ("f", "upper"), ("o", "="), ("t", "int4")]));
        assert!(!is_as_plain(&[("w", "t"), ("t", "int4")]));
        assert!(!is_as_plain(&[("w", "t"), ("o", "=")]));
    }

    #[test]
    fn of_a_database_with_too_many_names_nothing_is_plain() {
        let rows = vec![("w", "t"); MOST_NAMES];
        assert!(!is_plain(&known(&rows), "SELECT * FROM t"));
    }
}
