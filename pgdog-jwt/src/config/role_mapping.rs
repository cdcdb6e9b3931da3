//! Which account of PostgreSQL a token's roles lead to, in service-account mode. Rules are tried in the order of the
//! file; the order inside a token means nothing.

use std::sync::Arc;

use super::{Pattern, Secret};
use crate::deny::DenyReason;
use crate::identity;

/// One rule: for these values of a claim, this account.
#[derive(Debug, Clone, PartialEq)]
pub struct RoleMapping {
    /// Unique among the rules, but for the last, which may be another one again for every token.
    pub name: String,
    /// The claim that holds roles: an exact name, or a path with dots. `None`: `role` and `roles`.
    pub claim: Option<String>,
    /// What one of the claim's values must be; `None`: the rule is for every token.
    pub value: Option<ValueMatch>,
    /// The databases that the rule is for; `None`: all.
    pub databases: Option<Vec<String>>,
    /// The account that logs in to PostgreSQL.
    pub server_user: String,
    /// Its password.
    pub server_password: Option<Secret>,
    /// The role that it takes after its login; `None`: it stays itself.
    pub role: Option<String>,
    /// Never on a primary (S10); `None`: as the host decides for subjects that it does not know.
    pub read_only: Option<bool>,
}

/// What a value of a claim must be.
#[derive(Debug, Clone, PartialEq)]
pub enum ValueMatch {
    /// One of these.
    Exact {
        /// The values.
        values: Vec<String>,
        /// ASCII letters in either case, as PostgreSQL folds names. Other letters are never folded: some of them become
        /// ASCII letters.
        ignore_case: bool,
    },
    /// What this matches as a whole.
    Pattern(Pattern),
}

impl ValueMatch {
    /// Whether this is such a value.
    pub fn matches(&self, value: &str) -> bool {
        match self {
            Self::Exact { values, ignore_case: true } => values.iter().any(|known| known.eq_ignore_ascii_case(value)),
            Self::Exact { values, ignore_case: false } => values.iter().any(|known| known == value),
            Self::Pattern(pattern) => pattern.is_match(value),
        }
    }
}

impl RoleMapping {
    /// Whether the rule is for this database.
    pub fn serves(&self, database: &str) -> bool {
        self.databases.as_ref().is_none_or(|names| names.iter().any(|name| name == database))
    }

    /// Why no token may have this account, or take this role (S13), and which of both it is.
    pub(crate) fn problem(&self, denied_roles: &[String]) -> Option<(&'static str, DenyReason)> {
        let names = [("server_user", Some(&self.server_user)), ("role", self.role.as_ref())];
        names.into_iter().find_map(|(key, role)| Some((key, identity::check_role(role?, denied_roles).err()?)))
    }

    /// Whether both rules are for the same tokens, whatever they lead to.
    fn selects_as(&self, other: &Self) -> bool {
        let one = (&self.name, &self.claim, &self.value, &self.databases);
        one == (&other.name, &other.claim, &other.value, &other.databases)
    }
}

/// The rule that was chosen for a login, and those before it that were not.
#[derive(Debug, Clone, PartialEq)]
pub struct ChosenMapping {
    rules: Arc<[RoleMapping]>,
    chosen: usize,
}

impl ChosenMapping {
    /// The first of the rules that `fits`.
    pub(crate) fn first(rules: &Arc<[RoleMapping]>, fits: impl Fn(&RoleMapping) -> bool) -> Option<Self> {
        let chosen = rules.iter().position(fits)?;
        Some(Self { rules: rules.clone(), chosen })
    }

    /// The rule.
    pub fn rule(&self) -> &RoleMapping {
        &self.rules[self.chosen]
    }

    /// The rule as it is in another configuration, if the same token would certainly be given it there: it and all rules
    /// before it still are for the same tokens.
    pub fn among<'a>(&self, rules: &'a [RoleMapping]) -> Option<&'a RoleMapping> {
        let now = rules.get(..=self.chosen)?;
        let same = now.iter().zip(self.rules.iter()).all(|(now, then)| now.selects_as(then));
        now.last().filter(|_| same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, value: &str) -> RoleMapping {
        RoleMapping {
            name: name.to_owned(),
            claim: None,
            value: Some(ValueMatch::Exact { values: vec![value.to_owned()], ignore_case: false }),
            databases: None,
            server_user: name.to_owned(),
            server_password: Some(Secret::new("hunter2")),
            role: None,
            read_only: None,
        }
    }

    #[test]
    fn case_is_ignored_for_ascii_letters_alone() {
        let desk = |ignore_case| ValueMatch::Exact { values: vec!["Desk".to_owned()], ignore_case };
        assert!(desk(true).matches("dESK") && desk(false).matches("Desk") && !desk(false).matches("desk"));
        for value in ["des\u{212a}", "de\u{17f}k", "desk ", ""] {
            assert!(!desk(true).matches(value), "{value}");
        }
    }

    #[test]
    fn a_choice_holds_while_nothing_before_it_has_changed() {
        let rules: Arc<[RoleMapping]> = [rule("a", "1"), rule("b", "2"), rule("c", "3")].into();
        let chosen = ChosenMapping::first(&rules, |rule| rule.name == "b").unwrap();
        assert_eq!(chosen.rule().name, "b");

        let mut account = rules.to_vec();
        account[1].server_user = "other".to_owned();
        account[1].server_password = None;
        assert_eq!(chosen.among(&account).unwrap().server_user, "other");
        let longer = [rules.to_vec(), vec![rule("d", "4")]].concat();
        assert!(chosen.among(&longer).is_some() && chosen.among(&rules[..2]).is_some());

        let earlier = [vec![rule("z", "0")], rules.to_vec()].concat();
        let other_value = vec![rule("a", "1"), rule("b", "9")];
        let mut elsewhere = rules.to_vec();
        elsewhere[0].databases = Some(vec!["app".to_owned()]);
        for changed in [earlier, other_value, elsewhere, rules[..1].to_vec(), Vec::new()] {
            assert!(chosen.among(&changed).is_none(), "{changed:?}");
        }
    }

    #[test]
    fn passwords_are_not_printed() {
        assert!(!format!("{:?}", rule("a", "1")).contains("hunter2"));
    }
}
