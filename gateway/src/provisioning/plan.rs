//! From what is wanted and what PostgreSQL has to the statements in between. Nothing here talks to anybody.
//!
//! - A role without our mark is somebody else's: nothing is planned for it, whatever it lacks. The same goes for one that
//!   has privileges by now.
//! - Only groups that the configuration owns are given or taken.
//! - Groups are those of the subject that the role was made for. Nobody else who is led to the role can have it.
//! - Groups are named in one order everywhere, so that no two plans wait for each other.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::groups::Rules;
use super::marker::Marker;
use super::state::{Group, State};
use crate::backend::settings::{quote_identifier, quote_literal};
use crate::cli::time;

/// What a subject's role must be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) role: String,
    /// Whether it logs in to PostgreSQL itself.
    pub(crate) login: bool,
    /// Whose groups these are: [`subject_id`](super::subject_id). `None`: there are no groups, or an administrator says them.
    pub(crate) subject: Option<String>,
    /// The account of the gateway that becomes it.
    pub(crate) account: Option<String>,
    /// Roles that every subject is in.
    pub(crate) roles: BTreeSet<String>,
    /// Roles that the token's groups stand for.
    pub(crate) groups: BTreeSet<String>,
    /// When the issuer said so, in seconds since 1970.
    pub(crate) groups_as_of: Option<u64>,
    /// The token's end, in seconds since 1970, where `VALID UNTIL` follows it, and how much later that may be.
    pub(crate) valid_until: Option<(i64, i64)>,
}

impl Wanted {
    /// All roles that it may be given.
    pub(super) fn all_roles(&self) -> BTreeSet<String> {
        self.roles.union(&self.groups).cloned().collect()
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Make {
        login: bool,
    },
    Login(bool),
    ValidUntil(i64),
    Grant {
        group: String,
    },
    /// `grantor`: whose grant it is, where that matters (PostgreSQL 16 and later).
    Revoke {
        group: String,
        grantor: Option<String>,
    },
    /// Lets an account of the gateway become the role.
    Admit {
        account: String,
        with_options: bool,
    },
    Expel {
        account: String,
        grantor: Option<String>,
    },
    /// Writes the mark.
    Note(String),
}

/// What is to be done, and what cannot be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) changes: Vec<Change>,
    /// Sentences about groups that stay as they are, for the log.
    pub(crate) notices: Vec<String>,
    /// The role is not one of ours.
    pub(crate) is_foreign: bool,
}

/// Why a role cannot be what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Impossible {
    #[error("the role {0:?} of [jwt.provisioning] does not exist")]
    NoSuchRole(String),
    #[error("the role {0:?} of [jwt.provisioning] has privileges, or is a subject's")]
    Unsuitable(String),
    #[error(
        "the role {0:?} has the groups of another subject, and two subjects cannot be one role where tokens name groups"
    )]
    OfAnother(String),
}

/// Plans what makes the role what it must be.
pub(super) fn plan(wanted: &Wanted, state: &State, rules: &Rules) -> Result<Plan, Impossible> {
    let mut plan = Plan::default();
    let marker = match &state.role {
        None => {
            plan.changes.push(Change::Make { login: wanted.login });
            Marker::default()
        }
        Some(role) => match &role.marker {
            Some(marker) if !role.is_privileged => {
                if role.can_login != wanted.login {
                    plan.changes.push(Change::Login(wanted.login));
                }
                marker.clone()
            }
            _ => return Ok(Plan { is_foreign: true, ..plan }),
        },
    };
    if let Some((end, margin)) = wanted.valid_until {
        // Not with every token: the margin is there to be used up.
        let lasts = state.role.as_ref().and_then(|role| role.valid_until).is_some_and(|until| until >= end);
        if !lasts {
            plan.changes.push(Change::ValidUntil(end.saturating_add(margin)));
        }
    }
    if marker.subject.is_some() && wanted.subject.is_some() && marker.subject != wanted.subject {
        return Err(Impossible::OfAnother(wanted.role.clone()));
    }
    let becomes_whose = marker.subject.is_none() && wanted.subject.is_some();
    let extent = match is_older(wanted.groups_as_of, marker.groups_as_of) {
        false => Extent::All,
        // It is not known whose groups these are: the role keeps what the token says as well.
        true if becomes_whose => Extent::Less,
        true => Extent::Nothing,
    };
    memberships(wanted, state, rules, extent, &mut plan)?;
    if let Some(account) = &wanted.account
        && !state.holders.iter().any(|holder| holder.account == *account && holder.may_set_role)
    {
        plan.changes.push(Change::Admit { account: account.clone(), with_options: state.with_options });
    }
    if !plan.changes.is_empty() || marker.seen != state.today || marker.disabled || becomes_whose {
        let groups_as_of = wanted.groups_as_of.max(marker.groups_as_of);
        let subject = marker.subject.or_else(|| wanted.subject.clone());
        let marker = Marker { seen: state.today.clone(), groups_as_of, subject, disabled: false };
        plan.changes.push(Change::Note(marker.to_string()));
    }
    Ok(plan)
}

/// Whether a token says less of groups than is known already: it was issued earlier, or does not say when. An older token
/// gives nothing back that a newer one took.
pub(super) fn is_older(this: Option<u64>, known: Option<u64>) -> bool {
    known.is_some_and(|known| this.is_none_or(|this| this < known))
}

/// How far a token decides which groups a role is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    All,
    /// It takes, and gives nothing.
    Less,
    Nothing,
}

fn memberships(
    wanted: &Wanted,
    state: &State,
    rules: &Rules,
    extent: Extent,
    plan: &mut Plan,
) -> Result<(), Impossible> {
    let known = |name: &str| state.groups.iter().find(|group| group.name == name);
    let is_unsuitable = |group: &Group| group.is_privileged || group.is_subject || group.name == wanted.role;
    for role in &wanted.roles {
        match known(role) {
            None => return Err(Impossible::NoSuchRole(role.clone())),
            Some(group) if is_unsuitable(group) => return Err(Impossible::Unsuitable(role.clone())),
            Some(_) => {}
        }
    }
    let mut given = wanted.roles.clone();
    if extent != Extent::Nothing {
        for name in &wanted.groups {
            match known(name) {
                None => plan.notices.push(format!("there is no role {name:?} to give")),
                Some(group) if is_unsuitable(group) => {
                    plan.notices.push(format!("the role {name:?} has privileges or is a subject's, and is not given"));
                }
                Some(_) => _ = given.insert(name.clone()),
            }
        }
    }
    let mut steps: Vec<(String, Change)> = Vec::new();
    let has = |name: &String| state.memberships.iter().any(|has| has.group == *name);
    let may_give = |name: &String| extent == Extent::All || wanted.roles.contains(name);
    for group in given.iter().filter(|name| !has(name) && may_give(name)) {
        steps.push((group.clone(), Change::Grant { group: group.clone() }));
    }
    let superfluous = state.memberships.iter().filter(|has| rules.owns(&has.group) && !given.contains(&has.group));
    for has in superfluous.filter(|_| extent != Extent::Nothing) {
        if has.is_revocable {
            let grantor = state.with_options.then(|| has.grantor.clone());
            steps.push((has.group.clone(), Change::Revoke { group: has.group.clone(), grantor }));
        } else {
            plan.notices.push(format!("the role {:?} was given by {:?} and stays", has.group, has.grantor));
        }
    }
    steps.sort_by(|one, other| one.0.cmp(&other.0));
    plan.changes.extend(steps.into_iter().map(|(_, change)| change));
    Ok(())
}

/// Plans what keeps everybody from becoming a role that was not seen for long. Its groups stay: they are right again when
/// it comes back.
pub(super) fn disable(state: &State) -> Plan {
    let mut plan = Plan::default();
    let Some(role) = state.role.as_ref().filter(|role| !role.is_privileged) else { return plan };
    let Some(marker) = role.marker.as_ref().filter(|marker| !marker.disabled) else { return plan };
    if role.can_login {
        plan.changes.push(Change::Login(false));
    }
    for holder in &state.holders {
        if holder.is_revocable {
            let (account, grantor) = (holder.account.clone(), state.with_options.then(|| holder.grantor.clone()));
            plan.changes.push(Change::Expel { account, grantor });
        } else {
            plan.notices.push(format!("{:?} gave the role to {:?}, and it stays", holder.grantor, holder.account));
        }
    }
    plan.changes.push(Change::Note(Marker { disabled: true, ..marker.clone() }.to_string()));
    plan
}

impl Change {
    /// The statement that does it. Names are quoted byte for byte.
    pub(crate) fn sql(&self, role: &str) -> String {
        let role = quote_identifier(role);
        let by = |grantor: &Option<String>| match grantor {
            Some(grantor) => format!(" GRANTED BY {}", quote_identifier(grantor)),
            None => String::new(),
        };
        let login = |login: &bool| if *login { "LOGIN" } else { "NOLOGIN" };
        match self {
            Self::Make { login: may } => format!("CREATE ROLE {role} {}", login(may)),
            Self::Login(may) => format!("ALTER ROLE {role} {}", login(may)),
            Self::ValidUntil(seconds) => {
                let date = time::date(*seconds).unwrap_or_else(|| "infinity".to_owned());
                format!("ALTER ROLE {role} VALID UNTIL {}", quote_literal(&date))
            }
            Self::Grant { group } => format!("GRANT {} TO {role}", quote_identifier(group)),
            Self::Revoke { group, grantor } => {
                format!("REVOKE {} FROM {role}{}", quote_identifier(group), by(grantor))
            }
            Self::Admit { account, with_options } => {
                let options = if *with_options { " WITH INHERIT FALSE, SET TRUE" } else { "" };
                format!("GRANT {role} TO {}{options}", quote_identifier(account))
            }
            Self::Expel { account, grantor } => {
                format!("REVOKE {role} FROM {}{}", quote_identifier(account), by(grantor))
            }
            Self::Note(text) => format!("COMMENT ON ROLE {role} IS {}", quote_literal(text)),
        }
    }

    /// A word for the audit log.
    pub(crate) fn action(&self) -> &'static str {
        match self {
            Self::Make { .. } => "role_made",
            Self::Login(true) => "login_allowed",
            Self::Login(false) => "login_taken",
            Self::ValidUntil(_) => "valid_until",
            Self::Grant { .. } => "granted",
            Self::Revoke { .. } => "revoked",
            Self::Admit { .. } => "gateway_admitted",
            Self::Expel { .. } => "gateway_expelled",
            Self::Note(_) => "noted",
        }
    }

    /// The other role that it is about.
    pub(crate) fn other(&self) -> Option<&str> {
        match self {
            Self::Grant { group } | Self::Revoke { group, .. } => Some(group),
            Self::Admit { account, .. } | Self::Expel { account, .. } => Some(account),
            _ => None,
        }
    }
}

impl Plan {
    /// All statements, for one simple query.
    pub(super) fn sql(&self, role: &str) -> String {
        let mut sql = String::new();
        for change in &self.changes {
            let _ = write!(sql, "{};", change.sql(role));
        }
        sql
    }
}

#[cfg(test)]
mod tests;
