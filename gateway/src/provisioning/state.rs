//! What PostgreSQL says of a role: the question, in one statement, and how its answer is read. Every row begins with the
//! kind of thing that it tells.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::marker::{Marker, PREFIX};
use crate::backend::conversation::Answer;
use crate::backend::settings::quote_literal;

/// The first version in which a membership has options, and belongs to whoever granted it.
const WITH_OPTIONS: u32 = 16;
/// Most roles of one look for roles that nobody uses.
const BATCH: usize = 500;

/// Attributes that no role may have that is changed.
const IS_PRIVILEGED: &str = "(rolsuper OR rolbypassrls OR rolcreaterole OR rolreplication)::text";
/// The same for a role given to a subject, which with it can also become what that role can.
const CAN_BECOME_PRIVILEGED: &str = "EXISTS (SELECT FROM pg_roles p WHERE (p.rolsuper OR p.rolbypassrls OR p.rolcreaterole OR \
     p.rolreplication) AND pg_has_role(g.oid, p.oid, 'MEMBER'))::text";

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) role: &'a str,
    /// Accounts of the gateway that may have been given the role.
    pub(super) accounts: &'a [String],
    /// Roles that it may be given.
    pub(super) groups: &'a BTreeSet<String>,
}

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) in_recovery: bool,
    /// Today, by the server's clock.
    pub(super) today: String,
    /// PostgreSQL 16 and later.
    pub(super) with_options: bool,
    /// `None`: there is no such role.
    pub(super) role: Option<Role>,
    pub(super) memberships: Vec<Membership>,
    /// Who of the accounts was given the role.
    pub(super) holders: Vec<Holder>,
    /// Those of the asked groups that are roles.
    pub(super) groups: Vec<Group>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Role {
    pub(super) can_login: bool,
    pub(super) is_privileged: bool,
    /// In seconds since 1970; `None`: for ever.
    pub(super) valid_until: Option<i64>,
    /// Present on roles that the gateway made.
    pub(super) marker: Option<Marker>,
}

/// The role is in a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) group: String,
    pub(super) grantor: String,
    /// Whether the administrator may take it away.
    pub(super) is_revocable: bool,
}

/// An account was given the role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) account: String,
    pub(super) grantor: String,
    pub(super) may_set_role: bool,
    pub(super) is_revocable: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) is_privileged: bool,
    /// The gateway made it for a token: it is somebody, and no group.
    pub(super) is_subject: bool,
}

/// Whether a server has memberships with options, by its `server_version`.
pub(super) fn has_options(server_version: &str) -> bool {
    let major =
        server_version.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse::<u32>().ok());
    major.is_some_and(|major| major >= WITH_OPTIONS)
}

impl Question<'_> {
    /// The statement. The connection's `search_path` is `pg_catalog` alone.
    pub(super) fn sql(&self, with_options: bool) -> String {
        let role = quote_literal(self.role);
        let may_set = if with_options { "m.set_option::text" } else { "'true'" };
        let revocable = match with_options {
            true => "pg_has_role(current_user, m.grantor, 'USAGE')::text",
            false => "'true'",
        };
        let mut sql = format!(
            "SELECT 'server', pg_is_in_recovery()::text, to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD'), NULL, NULL \
             UNION ALL SELECT 'role', rolcanlogin::text, {IS_PRIVILEGED}, \
             CASE WHEN isfinite(rolvaliduntil) THEN floor(extract(epoch FROM rolvaliduntil))::bigint::text END, \
             shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = {role} \
             UNION ALL SELECT 'membership', g.rolname, o.rolname, {revocable}, NULL FROM pg_auth_members m \
             JOIN pg_roles r ON r.oid = m.member JOIN pg_roles g ON g.oid = m.roleid \
             LEFT JOIN pg_roles o ON o.oid = m.grantor WHERE r.rolname = {role}"
        );
        if !self.accounts.is_empty() {
            let accounts = list(self.accounts);
            let _ = write!(
                sql,
                " UNION ALL SELECT 'holder', a.rolname, o.rolname, {may_set}, {revocable} FROM pg_auth_members m \
                 JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles a ON a.oid = m.member \
                 LEFT JOIN pg_roles o ON o.oid = m.grantor WHERE r.rolname = {role} AND a.rolname IN ({accounts})"
            );
        }
        if !self.groups.is_empty() {
            let groups = list(self.groups);
            let _ = write!(
                sql,
                " UNION ALL SELECT 'group', rolname, {CAN_BECOME_PRIVILEGED}, shobj_description(oid, 'pg_authid'), NULL \
                 FROM pg_roles g WHERE rolname IN ({groups})"
            );
        }
        sql
    }
}

fn list<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| quote_literal(name)).collect();
    quoted.join(",")
}

impl State {
    /// Reads the answer to [`Question::sql`].
    pub(super) fn read(answer: &Answer, with_options: bool) -> Self {
        let mut state = Self { with_options, in_recovery: true, ..Self::default() };
        for row in &answer.rows {
            let value = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or_default();
            let text = |at: usize| value(at).to_owned();
            let is = |at: usize| value(at) == "true";
            match value(0) {
                "server" => (state.in_recovery, state.today) = (value(1) != "false", text(2)),
                "role" => {
                    state.role = Some(Role {
                        can_login: is(1),
                        is_privileged: value(2) != "false",
                        valid_until: value(3).parse().ok(),
                        marker: Marker::parse(value(4)),
                    });
                }
                "membership" => {
                    state.memberships.push(Membership { group: text(1), grantor: text(2), is_revocable: is(3) });
                }
                "holder" => {
                    let (account, grantor) = (text(1), text(2));
                    state.holders.push(Holder { account, grantor, may_set_role: is(3), is_revocable: is(4) });
                }
                "group" => {
                    let is_subject = Marker::parse(value(3)).is_some();
                    state.groups.push(Group { name: text(1), is_privileged: value(2) != "false", is_subject });
                }
                _ => {}
            }
        }
        state
    }
}

/// Asks for the roles of ours that were not seen for so many days and can still be used, `BATCH` of them at most, those
/// that come after `after`.
pub(super) fn unused_sql(days: u32, after: &str) -> String {
    let (prefix, after) = (quote_literal(PREFIX), quote_literal(after));
    format!(
        "SELECT r.rolname FROM pg_roles r, LATERAL (SELECT shobj_description(r.oid, 'pg_authid')) c (text) \
         WHERE starts_with(c.text, {prefix}) AND c.text NOT LIKE '%; disabled' \
         AND substring(c.text FROM '; seen=([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})') COLLATE \"C\" \
         < to_char((now() AT TIME ZONE 'UTC') - make_interval(days => {days}), 'YYYY-MM-DD') COLLATE \"C\" \
         AND r.rolname > {after} ORDER BY r.rolname LIMIT {BATCH}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_apart() {
        for (version, with_options) in
            [("15.8 (Debian 15.8-0)", false), ("16.2", true), ("18beta1", true), ("9.6", false)]
        {
            assert_eq!(has_options(version), with_options, "{version}");
        }
        assert!(!has_options(""));
    }

    #[test]
    fn what_is_not_said_counts_as_the_worse() {
        let row = |values: &[&str]| values.iter().map(|value| Some((*value).to_owned())).collect::<Vec<_>>();
        let rows = vec![row(&["role", "true", "", "", "a comment"]), row(&["group", "g", "", ""])];
        let state = State::read(&Answer::of(rows), true);
        assert!(state.in_recovery && state.groups[0].is_privileged);
        let role = state.role.expect("a role");
        assert!(role.is_privileged && role.marker.is_none());
    }

    #[test]
    fn names_stay_inside_their_quotes() {
        let groups = BTreeSet::from(["a'); DROP TABLE x; --".to_owned(), "b\\' OR true --".to_owned()]);
        let question = Question { role: "o'brien", accounts: &["gate'way".to_owned()], groups: &groups };
        for sql in [question.sql(true), question.sql(false)] {
            for quoted in ["'o''brien'", "'gate''way'", "'a''); DROP TABLE x; --'", " E'b\\\\'' OR true --'"] {
                assert!(sql.contains(quoted), "{quoted} in {sql}");
            }
            assert_eq!(pg_query::split_with_parser(&sql).expect("SQL").len(), 1);
        }
        assert_eq!(pg_query::split_with_parser(&unused_sql(30, "o'brien\\")).expect("SQL").len(), 1);
    }
}
