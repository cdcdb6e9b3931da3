//! Whether the user mappings can make one user of several subjects. What cannot be shown to be one-to-one is taken for
//! many-to-one: who is a role together with others must not change it for them.

use regex_syntax::hir::{Hir, HirKind};

use super::{IdentityMode, Issuer, JwtConfig, UserMapping};

/// The claim that is unique among an issuer's subjects (RFC 7519 section 4.1.2, OpenID Connect Core section 2).
const SUBJECT: &str = "sub";

/// Why user mappings may make one user of several subjects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Merged {
    /// A claim that several subjects may have in common.
    #[error("user mapping {rule}: several subjects may have the same \"{claim}\"")]
    Claim {
        /// The rule's number, from 1 on.
        rule: usize,
        /// The claim's name.
        claim: String,
    },
    /// `lowercase`.
    #[error("user mapping {rule}: \"lowercase\" makes one user of names that differ in case")]
    Lowercase {
        /// The rule's number, from 1 on.
        rule: usize,
    },
    /// The user does not hold all that the pattern lets vary.
    #[error("user mapping {rule}: the pattern may match several values that make one user")]
    Template {
        /// The rule's number, from 1 on.
        rule: usize,
    },
    /// A rule for the tokens of several issuers.
    #[error("user mapping {rule}: it is for several issuers, which may use one name for different subjects")]
    Issuers {
        /// The rule's number, from 1 on.
        rule: usize,
    },
    /// Two rules.
    #[error("user mappings {one} and {other} may make the same user")]
    Rules {
        /// The number of one, from 1 on.
        one: usize,
        /// The number of the other.
        other: usize,
    },
}

impl JwtConfig {
    /// Why several subjects may be one user; `None`: the mappings are one-to-one, or there are none. Without mappings a
    /// subject is, by definition, who the username claim says.
    pub fn merges_subjects(&self) -> Option<Merged> {
        // Users with an account in place of a role share it in any case.
        let makes_roles = |rule: &UserMapping| {
            self.issuers_of(rule)
                .any(|issuer| rule.mode.or(issuer.mode).unwrap_or(self.mode) != IdentityMode::ServiceAccount)
        };
        let rules: Vec<_> = self.user_mappings.iter().enumerate().filter(|(_, rule)| makes_roles(rule)).collect();
        let alone = rules.iter().find_map(|(at, rule)| self.merges(at + 1, rule));
        let pairs =
            || rules.iter().enumerate().flat_map(|(n, one)| rules.iter().skip(n + 1).map(move |other| (one, other)));
        alone.or_else(|| {
            let (one, other) = pairs().find(|((_, one), (_, other))| !makes_other_users(one, other))?;
            Some(Merged::Rules { one: one.0 + 1, other: other.0 + 1 })
        })
    }

    /// The issuers for whose tokens a rule is tried.
    fn issuers_of<'a>(&'a self, rule: &'a UserMapping) -> impl Iterator<Item = &'a Issuer> {
        let only = rule.issuer.as_deref().map(|name| self.issuer_named(Some(name)));
        let is_for = move |at: usize| only.is_none_or(|only| only == Some(at));
        self.issuers.iter().enumerate().filter(move |(at, _)| is_for(*at)).map(|(_, issuer)| issuer)
    }

    /// The same of one rule, which has this number.
    fn merges(&self, number: usize, rule: &UserMapping) -> Option<Merged> {
        let mut issuers = self.issuers_of(rule);
        let issuer = issuers.next()?;
        let claim = rule.claim.as_deref().unwrap_or(&issuer.username_claim);
        if claim != SUBJECT && claim != issuer.username_claim {
            return Some(Merged::Claim { rule: number, claim: claim.to_owned() });
        }
        if issuers.next().is_some() {
            return Some(Merged::Issuers { rule: number });
        }
        if rule.lowercase {
            return Some(Merged::Lowercase { rule: number });
        }
        (!keeps_all(rule)).then_some(Merged::Template { rule: number })
    }
}

/// Whether different values make different users: the user holds the whole value, or the one part of it that may vary.
fn keeps_all(rule: &UserMapping) -> bool {
    let Ok(pattern) = regex_syntax::parse(rule.pattern.as_str()) else { return false };
    let whole = 0;
    let varying = varying(&pattern);
    let is_kept = |group: usize| group == whole || varying == Varies::Group(group as u32);
    let mut groups = rule.user.groups().peekable();
    match varying {
        Varies::Nothing => true,
        _ => groups.peek().is_some() && groups.all(is_kept),
    }
}

/// What of a pattern's matches is not the same in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Varies {
    Nothing,
    /// One group, which every match has.
    Group(u32),
    Anything,
}

fn varying(pattern: &Hir) -> Varies {
    match pattern.kind() {
        HirKind::Empty | HirKind::Literal(_) | HirKind::Look(_) => Varies::Nothing,
        HirKind::Capture(group) => match varying(&group.sub) {
            Varies::Nothing => Varies::Nothing,
            _ => Varies::Group(group.index),
        },
        HirKind::Concat(parts) => parts.iter().map(varying).fold(Varies::Nothing, |all, part| match (all, part) {
            (all, Varies::Nothing) => all,
            (Varies::Nothing, part) => part,
            _ => Varies::Anything,
        }),
        HirKind::Class(_) | HirKind::Repetition(_) | HirKind::Alternation(_) => Varies::Anything,
    }
}

/// Whether no user of one rule is one of the other: they begin, or end, with texts that exclude each other.
fn makes_other_users(one: &UserMapping, other: &UserMapping) -> bool {
    let is_fixed = |rule: &UserMapping| rule.user.groups().next().is_none();
    let ((begin, end), (others_begin, others_end)) = (one.user.ends(), other.user.ends());
    if is_fixed(one) && is_fixed(other) {
        return begin != others_begin;
    }
    let begins_alike = begin.starts_with(others_begin) || others_begin.starts_with(begin);
    let ends_alike = end.ends_with(others_end) || others_end.ends_with(end);
    !(begins_alike && ends_alike)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{KeySource, Pattern, UserTemplate};

    fn rule(pattern: &str, user: &str) -> UserMapping {
        let pattern = Pattern::new(pattern, false).unwrap();
        let user = UserTemplate::new(user, &pattern).unwrap();
        UserMapping { issuer: None, claim: None, pattern, user, lowercase: false, mode: None }
    }

    fn config(rules: &[UserMapping]) -> JwtConfig {
        let issuer = Issuer { issuer: Some("https://i".to_owned()), ..Issuer::new(KeySource::PemFiles(Vec::new())) };
        JwtConfig { user_mappings: rules.to_vec(), ..JwtConfig::new(vec![issuer]) }
    }

    fn merges(rules: &[UserMapping]) -> bool {
        config(rules).merges_subjects().is_some()
    }

    #[test]
    fn a_user_that_holds_all_that_varies_is_one_subject() {
        assert!(!merges(&[]));
        for (pattern, user) in [
            (r"([^@]+)@example\.com", r"\1"),
            (r"^([^@]+)@example\.com$", r"team_\1"),
            (r"(.*)@(example)\.com", r"\1_\1"),
            (".*", r"\0"),
            ("a|b", r"x\0"),
            ("robot", "bob"),
            (r"((a|b)+)x", r"\1"),
        ] {
            assert!(!merges(&[rule(pattern, user)]), "{pattern} {user}");
        }
    }

    #[test]
    fn what_cannot_be_shown_to_be_one_subject_is_many() {
        for (pattern, user) in [
            (".*", "bob"),
            (r"(.*)@.*", r"\1"),
            (r"(.*)@(.*)", r"\1.\2"),
            (r"(.*)@(a|b)", r"\1"),
            (r"(?i)(x)y", r"\1"),
            ("(a)|b", r"x\1"),
            (r"(a)?b+", r"x\1"),
            (r"((a|b)+)x", r"\2"),
            (r"(a)x*", r"\1"),
            (r"(?i)robot", "bob"),
        ] {
            assert_eq!(
                config(&[rule(pattern, user)]).merges_subjects(),
                Some(Merged::Template { rule: 1 }),
                "{pattern}"
            );
        }
        let lower = UserMapping { lowercase: true, ..rule("(.*)", r"\1") };
        assert_eq!(config(&[lower]).merges_subjects(), Some(Merged::Lowercase { rule: 1 }));
    }

    #[test]
    fn only_a_claim_that_names_the_subject_is_the_subjects_alone() {
        let of = |claim: &str| UserMapping { claim: Some(claim.to_owned()), ..rule(".*", r"\0") };
        assert!(!merges(&[of("sub")]) && merges(&[of("email")]));
        let mut by_address = config(&[of("email")]);
        by_address.issuers[0].username_claim = "email".to_owned();
        assert_eq!(by_address.merges_subjects(), None);
    }

    #[test]
    fn two_rules_must_make_users_that_differ() {
        let two = |one: &str, other: &str| merges(&[rule("(.*)@a", one), rule("(.*)@b", other)]);
        assert!(two(r"\1", r"\1") && two(r"a\1", r"\1") && two(r"a\1", r"ab\1"));
        assert!(!two(r"a_\1", r"b_\1") && !two(r"\1@a", r"\1@b"));
        let fixed = |one: &str, other: &str| merges(&[rule("x", one), rule("y", other)]);
        assert!(fixed("bob", "bob") && !fixed("a", "aa") && !fixed("ann", "bob"));
    }

    #[test]
    fn a_rule_for_several_issuers_may_meet_one_name_twice() {
        let mut several = config(&[rule(".*", r"\0")]);
        several.issuers.push(Issuer { issuer: Some("https://j".to_owned()), ..several.issuers[0].clone() });
        assert_eq!(several.merges_subjects(), Some(Merged::Issuers { rule: 1 }));
        several.user_mappings[0].issuer = Some("https://i".to_owned());
        assert_eq!(several.merges_subjects(), None);
    }

    #[test]
    fn users_with_accounts_are_no_roles() {
        let robots = UserMapping { mode: Some(IdentityMode::ServiceAccount), ..rule(".*", "bob") };
        assert!(!merges(&[robots]));
    }
}
