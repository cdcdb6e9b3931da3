//! What is known of the statements of a session that is recorded: the names and portals that the server has, and what
//! requests carry until their replies have come.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use foldhash::fast::RandomState;

use crate::audit::{Statement, StatementPolicy};
use crate::wire::fields::Fields;

/// Names and portals of one session whose statements are known.
const MAX_KNOWN: usize = 10_000;

/// What is known of the statements of a session that is recorded.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) policy: StatementPolicy,
    /// Where names are the server's own.
    names: HashMap<Box<[u8]>, Arc<Statement>, RandomState>,
    pub(super) portals: HashMap<Box<[u8]>, Arc<Statement>, RandomState>,
}

/// A statement that was sent.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) started: Instant,
    pub(super) what: What,
    /// The error that it has ended with.
    pub(super) code: Option<String>,
}

#[derive(Debug)]
pub(super) enum What {
    Statement(Statement),
    Portal(Box<[u8]>),
}

/// A statement that gets a name: a Parse on its way.
#[derive(Debug)]
pub(super) struct Naming {
    pub(super) name: Box<[u8]>,
    pub(super) statement: Arc<Statement>,
}

/// A portal that gets a statement: a Bind on its way.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) portal: Box<[u8]>,
    pub(super) source: Source,
    pub(super) parameters: Parameters,
}

#[derive(Debug)]
pub(super) enum Source {
    Statement(Arc<Statement>),
    Name(Box<[u8]>),
}

#[derive(Debug)]
pub(super) enum Parameters {
    NotAsked,
    TooLong,
    /// For each whether it is binary; `None` is NULL.
    Values(Vec<(bool, Option<Vec<u8>>)>),
}

impl Statements {
    pub(super) fn new(policy: StatementPolicy) -> Self {
        Self { policy, names: HashMap::default(), portals: HashMap::default() }
    }

    /// A Parse has succeeded.
    pub(super) fn named(&mut self, naming: Naming) {
        if self.names.len() < MAX_KNOWN || self.names.contains_key(&naming.name) {
            self.names.insert(naming.name, naming.statement);
        } else {
            self.names.remove(&naming.name);
        }
    }

    /// A Bind has succeeded.
    pub(super) fn bound(&mut self, binding: Binding) {
        let statement = self.bind(&binding, &[]);
        if self.portals.len() < MAX_KNOWN || self.portals.contains_key(&binding.portal) {
            self.portals.insert(binding.portal, statement);
        } else {
            self.portals.remove(&binding.portal);
        }
    }

    /// What a portal stands for when its Bind succeeds, and with it the Parses that were skipped.
    pub(super) fn bind(&self, binding: &Binding, skipped: &[&Naming]) -> Arc<Statement> {
        let statement = match &binding.source {
            Source::Statement(statement) => statement.clone(),
            Source::Name(name) => {
                let skipped = skipped.iter().rev().find(|naming| naming.name == *name).map(|it| &it.statement);
                skipped.or_else(|| self.names.get(name)).cloned().unwrap_or_else(|| Arc::new(self.policy.unknown()))
            }
        };
        match &binding.parameters {
            Parameters::NotAsked => statement,
            Parameters::TooLong => {
                let mut statement = (*statement).clone();
                self.policy.skip_parameters(&mut statement);
                Arc::new(statement)
            }
            Parameters::Values(values) if values.is_empty() => statement,
            Parameters::Values(values) => {
                let mut statement = (*statement).clone();
                let values: Vec<_> = values.iter().map(|(binary, value)| (*binary, value.as_deref())).collect();
                self.policy.add_parameters(&mut statement, &values);
                Arc::new(statement)
            }
        }
    }

    /// The statement of an Execute.
    pub(super) fn of_portal(&self, portal: &[u8]) -> Statement {
        self.portals.get(portal).map_or_else(|| self.policy.unknown(), |statement| (**statement).clone())
    }
}

/// The parameters of a Bind behind its names.
pub(super) fn values(mut fields: Fields<'_>) -> Option<Vec<(bool, Option<Vec<u8>>)>> {
    let formats: Vec<u16> = (0..fields.u16()?).map(|_| fields.u16()).collect::<Option<_>>()?;
    let count = fields.u16()?;
    let mut values = Vec::new();
    for at in 0..usize::from(count) {
        // One format is for all, none means text (PostgreSQL documentation, section "Message Formats").
        let format = if formats.len() == 1 { formats.first() } else { formats.get(at) };
        let value = match fields.u32()? {
            u32::MAX => None,
            size => {
                let (value, rest) = fields.0.split_at_checked(size as usize)?;
                fields = Fields(rest);
                Some(value.to_vec())
            }
        };
        values.push((format == Some(&1), value));
    }
    Some(values)
}
