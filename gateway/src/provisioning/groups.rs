//! What a token's groups mean: which roles of PostgreSQL they stand for. A token names groups and nothing else; the roles
//! that may come of them are those that the configuration names, or that begin as it says. These the configuration owns:
//! a subject is in them when its token says so, and not otherwise.

use std::collections::BTreeSet;

use pgdog_jwt::check_role;

/// One line of the configuration: a group and its roles, or all groups that begin alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    group: String,
    roles: Vec<String>,
}

impl Rule {
    /// `group` and `roles` are names; or both a prefix followed by `*`, and what follows the one is put behind the other.
    pub(crate) fn new(group: impl Into<String>, roles: Vec<String>) -> Self {
        Self { group: group.into(), roles }
    }

    pub(crate) fn group(&self) -> &str {
        &self.group
    }

    /// What is wrong with it, as the end of a sentence.
    pub(crate) fn check(&self) -> Result<(), String> {
        let is_prefix = |name: &str| name.ends_with('*');
        if self.group.is_empty() || self.roles.is_empty() {
            return Err("must name a group and its roles".to_owned());
        }
        for role in &self.roles {
            if is_prefix(role) != is_prefix(&self.group) {
                return Err("and its role must both end in \"*\", or neither".to_owned());
            }
            if role.trim_end_matches('*').is_empty() {
                return Err("must not stand for all roles there are: give the role a prefix".to_owned());
            }
            if role.trim_end_matches('*').contains('*') || role.ends_with("**") {
                return Err("may have a \"*\" at the end of a name only".to_owned());
            }
            if let Err(reason) = check_role(role.trim_end_matches('*'), &[]) {
                return Err(format!("stands for what is no role: {reason}"));
            }
        }
        Ok(())
    }

    fn prefixes(&self) -> Option<(&str, impl Iterator<Item = &str>)> {
        let group = self.group.strip_suffix('*')?;
        Some((group, self.roles.iter().filter_map(|role| role.strip_suffix('*'))))
    }
}

/// All lines, and the roles that none of them gives: names, and prefixes followed by `*`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
    denied: Vec<String>,
}

impl Rules {
    pub(crate) fn new(rules: Vec<Rule>) -> Self {
        Self { rules, denied: vec!["pg_*".to_owned()] }
    }

    /// Adds to what no prefix leads to. A line that names such a role is for the configuration to refuse.
    pub(crate) fn deny(&mut self, roles: impl IntoIterator<Item = String>) {
        self.denied.extend(roles);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The roles that these groups stand for, as far as they can be roles. A group that is named goes by that line and by
    /// no prefix.
    pub(crate) fn roles_of<'a>(&self, groups: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
        let mut roles = BTreeSet::new();
        for group in groups {
            match self.rules.iter().find(|rule| rule.group == *group && rule.prefixes().is_none()) {
                Some(rule) => roles.extend(rule.roles.iter().cloned()),
                None => roles.extend(self.by_prefix(group)),
            }
        }
        roles
    }

    fn by_prefix(&self, group: &str) -> impl Iterator<Item = String> {
        let fitting = self.rules.iter().filter_map(Rule::prefixes);
        let made = fitting.filter_map(move |(prefix, roles)| {
            let rest = group.strip_prefix(prefix).filter(|rest| !rest.is_empty())?;
            Some(roles.map(move |role| format!("{role}{rest}")))
        });
        made.flatten().filter(|role| check_role(role, &self.denied).is_ok())
    }

    /// Whether the configuration owns this role.
    pub(crate) fn owns(&self, role: &str) -> bool {
        self.rules.iter().flat_map(|rule| &rule.roles).any(|owned| match owned.strip_suffix('*') {
            Some(prefix) => role.starts_with(prefix),
            None => role == owned,
        })
    }

    /// The roles that the configuration owns: names, and prefixes followed by `*`.
    pub(crate) fn owned_patterns(&self) -> impl Iterator<Item = String> {
        self.rules.iter().flat_map(|rule| rule.roles.iter().cloned())
    }

    /// The lines, as they may be shown.
    pub(crate) fn shown(&self) -> String {
        let lines = self.rules.iter().map(|rule| format!("{} = {}", rule.group, rule.roles.join(" + ")));
        lines.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(rules: &[(&str, &[&str])]) -> Rules {
        let rule = |(group, roles): &(&str, &[&str])| {
            let rule = Rule::new(*group, roles.iter().map(|role| (*role).to_owned()).collect());
            rule.check().expect("a good rule");
            rule
        };
        Rules::new(rules.iter().map(rule).collect())
    }

    fn roles(rules: &Rules, groups: &[&str]) -> Vec<String> {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        rules.roles_of(&groups).into_iter().collect()
    }

    #[test]
    fn a_name_goes_before_a_prefix_and_unknown_groups_mean_nothing() {
        let rules = rules(&[("db-*", &["grp_*"]), ("db-admin", &["admins", "readers"]), ("ops", &["ops"])]);
        assert_eq!(roles(&rules, &["db-admin", "db-sales", "other", "", "Ops"]), ["admins", "grp_sales", "readers"]);
        assert_eq!(roles(&rules, &["db-", "db-*"]), ["grp_*"], "a star in a token is a letter like any other");
    }

    #[test]
    fn no_group_leads_out_of_what_the_configuration_owns() {
        let rules = rules(&[("*", &["grp_*"])]);
        let long = "x".repeat(60);
        for group in ["postgres", "pg_read_all_data", "a\"; DROP ROLE x; --", "é", &long, "none"] {
            for role in roles(&rules, &[group]) {
                assert!(role.starts_with("grp_") && role.len() <= 63 && rules.owns(&role), "{role}");
            }
        }
        assert_eq!(roles(&rules, &["nul\0inside", &long]), [""; 0], "what cannot be a role is none");
        assert!(!rules.owns("grp") && !rules.owns("Grp_a") && rules.owns("grp_a"));
    }

    #[test]
    fn no_prefix_leads_to_a_role_that_is_denied() {
        let mut rules = rules(&[("*", &["t_*"]), ("named", &["t_named"])]);
        rules.deny(["t_admin".to_owned(), "t_ops*".to_owned()]);
        assert_eq!(roles(&rules, &["admin", "ops", "opsx", "admins", "named", "op"]), ["t_admins", "t_named", "t_op"]);
        assert!(rules.owns("t_admin"), "who has it already loses it");
    }

    #[test]
    fn rules_that_would_own_too_much_are_refused() {
        for (group, roles) in
            [("*", "*"), ("a", "b*"), ("a*", "b"), ("a", ""), ("", "a"), ("a*", "b**"), ("a*", "b*c*")]
        {
            assert!(Rule::new(group, vec![roles.to_owned()]).check().is_err(), "{group} = {roles}");
        }
        assert!(Rule::new("a", vec![]).check().is_err());
        assert!(Rule::new("a", vec!["none".to_owned()]).check().is_err());
    }
}
