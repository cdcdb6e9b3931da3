//! The files of vectors.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::Error as _;

use super::{Expected, Vector};
use crate::class::{Access, Effects};
use crate::dialect::Dialect;
use crate::policy::{Account, GuardMode, Policy, ReadWriteStrategy};

const POLICIES: &str = include_str!("../../vectors/policies.json");

const FILES: [&str; 4] = [
    include_str!("../../vectors/attacks.json"),
    include_str!("../../vectors/account.json"),
    include_str!("../../vectors/matrix.json"),
    include_str!("../../vectors/legitimate.json"),
];

/// Texts that one classifier remembers; fewer than there are.
const CACHE_LIMIT: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyEntry {
    guard: GuardMode,
    identity: bool,
    account: Account,
    protected: Vec<Box<str>>,
}

impl PolicyEntry {
    fn policy(self, dialect: Dialect) -> Policy {
        Policy {
            guard: self.guard,
            identity: self.identity,
            account: self.account,
            strategy: ReadWriteStrategy::Conservative,
            protected: self.protected.iter().collect(),
            cache_limit: CACHE_LIMIT,
            max_words: usize::MAX,
            dialect,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    groups: Vec<Group>,
}

/// Statements that all have one answer, by the policy's name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    expected: BTreeMap<String, Answer>,
    statements: Vec<Statement>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    /// `allow`, `barrier`, `rewrite`, or the SQLSTATE of a refusal.
    Word(String),
    Refusal {
        sqlstate: String,
        message: String,
    },
}

impl Answer {
    fn expected(&self) -> Expected {
        match self {
            Self::Word(word) if word == "allow" => Expected::Allow,
            Self::Word(word) if word == "barrier" => Expected::Barrier,
            Self::Word(word) if word == "rewrite" => Expected::Rewrite,
            Self::Word(code) => Expected::Refuse { sqlstate: code.clone(), message: None },
            Self::Refusal { sqlstate, message } => {
                Expected::Refuse { sqlstate: sqlstate.clone(), message: Some(message.clone()) }
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Statement {
    Text(String),
    Classed {
        sql: String,
        access: Access,
        #[serde(default)]
        effects: Vec<String>,
    },
    /// Bytes that are no text, by two digits each.
    Hex {
        hex: String,
    },
    Nested {
        nested: Nested,
    },
}

/// `before`, then `open` so many times, `inner`, `close` as often, `behind`.
#[derive(Deserialize)]
struct Nested {
    before: String,
    open: String,
    times: usize,
    inner: String,
    close: String,
    behind: String,
}

impl Statement {
    fn sql(&self) -> Result<Vec<u8>, serde_json::Error> {
        match self {
            Self::Text(sql) | Self::Classed { sql, .. } => Ok(sql.clone().into_bytes()),
            Self::Nested { nested: Nested { before, open, times, inner, close, behind } } => {
                let (open, close) = (open.repeat(*times), close.repeat(*times));
                Ok(format!("{before}{open}{inner}{close}{behind}").into_bytes())
            }
            Self::Hex { hex } => {
                let digits = hex.as_bytes().as_chunks::<2>().0;
                let byte = |digits: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
                digits
                    .iter()
                    .map(byte)
                    .collect::<Option<_>>()
                    .ok_or_else(|| serde_json::Error::custom("not hexadecimal"))
            }
        }
    }

    fn access(&self) -> Option<Access> {
        match self {
            Self::Classed { access, .. } => Some(*access),
            _ => None,
        }
    }

    fn effects(&self) -> Result<Option<Effects>, serde_json::Error> {
        let Self::Classed { effects, .. } = self else { return Ok(None) };
        let mut all = Effects::NONE;
        for name in effects {
            let unknown = || serde_json::Error::custom(format!("unknown effect {name:?}"));
            all |= EFFECTS.iter().find(|(word, _)| word == name).map(|(_, effect)| *effect).ok_or_else(unknown)?;
        }
        Ok(Some(all))
    }
}

const EFFECTS: [(&str, Effects); 17] = [
    ("settings", Effects::SETTINGS),
    ("prepared", Effects::PREPARED),
    ("deallocates", Effects::DEALLOCATES),
    ("deallocates_all", Effects::DEALLOCATES_ALL),
    ("listen", Effects::LISTEN),
    ("unlisten", Effects::UNLISTEN),
    ("temp", Effects::TEMP),
    ("advisory_lock", Effects::ADVISORY_LOCK),
    ("hold_cursor", Effects::HOLD_CURSOR),
    ("discard_other", Effects::DISCARD_OTHER),
    ("copy_in", Effects::COPY_IN),
    ("releases", Effects::RELEASES),
    ("executes", Effects::EXECUTES),
    ("schema", Effects::SCHEMA),
    ("own_name", Effects::OWN_NAME),
    ("opens", Effects::OPENS),
    ("unknown", Effects::UNKNOWN),
];

/// The vectors of all files.
pub(super) fn read(dialect: Dialect) -> Result<Vec<Vector>, serde_json::Error> {
    let policies: BTreeMap<String, PolicyEntry> = serde_json::from_str(POLICIES)?;
    let policies: BTreeMap<String, Policy> =
        policies.into_iter().map(|(name, entry)| (name, entry.policy(dialect))).collect();
    let mut vectors = Vec::new();
    for text in FILES {
        let File { groups } = serde_json::from_str(text)?;
        for group in groups {
            for (policy_name, answer) in &group.expected {
                let unknown = || serde_json::Error::custom(format!("unknown policy {policy_name:?}"));
                let policy = policies.get(policy_name).ok_or_else(unknown)?;
                for statement in &group.statements {
                    vectors.push(Vector {
                        group: group.name.clone(),
                        policy_name: policy_name.clone(),
                        policy: policy.clone(),
                        sql: statement.sql()?,
                        expected: answer.expected(),
                        access: statement.access(),
                        effects: statement.effects()?,
                    });
                }
            }
        }
    }
    Ok(vectors)
}
