//! What is planned, and what never is.

use super::super::groups::Rule;
use super::super::state::{Holder, Membership, Role};
use super::*;

const TODAY: &str = "2026-11-21";

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn wanted(groups: &[&str]) -> Wanted {
    Wanted {
        role: "alice".to_owned(),
        login: false,
        subject: Some("s1".to_owned()),
        account: Some("gateway".to_owned()),
        roles: set(&["app_user"]),
        groups: set(groups),
        groups_as_of: Some(100),
        valid_until: None,
    }
}

fn rules() -> Rules {
    let rule = |group: &str, role: &str| Rule::new(group, vec![role.to_owned()]);
    Rules::new(vec![rule("r", "readers"), rule("w", "writers"), rule("x-*", "x_*")])
}

fn group(name: &str) -> Group {
    Group { name: name.to_owned(), ..Group::default() }
}

/// A server with all groups, and no role yet.
fn empty() -> State {
    let groups = ["app_user", "readers", "writers", "x_1"].map(group).to_vec();
    State { today: TODAY.to_owned(), groups, ..State::default() }
}

fn has(group: &str) -> Membership {
    Membership { group: group.to_owned(), grantor: "admin".to_owned(), is_revocable: true }
}

/// The same with the role, as a token made it.
fn made(groups: &[&str]) -> State {
    let subject = Some("s1".to_owned());
    let marker = Marker { seen: TODAY.to_owned(), groups_as_of: Some(100), subject, disabled: false };
    let role = Some(Role { marker: Some(marker), ..Role::default() });
    let holder =
        Holder { account: "gateway".to_owned(), grantor: "admin".to_owned(), may_set_role: true, is_revocable: true };
    let memberships = ["app_user"].iter().chain(groups).map(|group| has(group)).collect();
    State { role, memberships, holders: vec![holder], ..empty() }
}

fn planned(wanted: &Wanted, state: &State) -> Vec<String> {
    let plan = plan(wanted, state, &rules()).expect("a plan");
    plan.changes.iter().map(|change| change.sql(&wanted.role)).collect()
}

#[test]
fn a_new_role_is_made_with_all_that_belongs_to_it() {
    let sql = planned(&wanted(&["readers"]), &empty());
    assert_eq!(
        sql,
        [
            "CREATE ROLE \"alice\" NOLOGIN",
            "GRANT \"app_user\" TO \"alice\"",
            "GRANT \"readers\" TO \"alice\"",
            "GRANT \"alice\" TO \"gateway\"",
            "COMMENT ON ROLE \"alice\" IS 'pgdog-jwt: made for a token; seen=2026-11-21; groups_as_of=100; subject=s1'",
        ]
    );
    let newer = State { with_options: true, ..empty() };
    let sql = planned(&Wanted { login: true, ..wanted(&[]) }, &newer);
    assert_eq!(sql[0], "CREATE ROLE \"alice\" LOGIN");
    assert_eq!(sql[2], "GRANT \"alice\" TO \"gateway\" WITH INHERIT FALSE, SET TRUE");
}

#[test]
fn nothing_is_planned_for_a_role_that_is_right() {
    assert_eq!(planned(&wanted(&["readers"]), &made(&["readers"])), [""; 0]);
    let own = Wanted { account: None, ..wanted(&[]) };
    assert_eq!(planned(&own, &State { holders: vec![], ..made(&[]) }), [""; 0]);
}

#[test]
fn groups_become_those_of_the_token_in_one_order() {
    let sql = planned(&wanted(&["writers", "x_1"]), &made(&["readers", "x_2"]));
    assert_eq!(
        sql[..4],
        [
            "REVOKE \"readers\" FROM \"alice\"",
            "GRANT \"writers\" TO \"alice\"",
            "GRANT \"x_1\" TO \"alice\"",
            "REVOKE \"x_2\" FROM \"alice\"",
        ]
    );
    assert!(sql[4].starts_with("COMMENT"));
}

#[test]
fn a_membership_that_the_configuration_does_not_own_stays() {
    assert_eq!(planned(&wanted(&[]), &made(&["accounting", "X_1", "reader"])), [""; 0]);
}

#[test]
fn a_grant_of_somebody_mightier_stays_and_is_noticed() {
    let mut state = made(&["readers"]);
    state.with_options = true;
    state.memberships[1].grantor = "o\"wner".to_owned();
    let sql = planned(&wanted(&[]), &state);
    assert_eq!(sql[0], "REVOKE \"readers\" FROM \"alice\" GRANTED BY \"o\"\"wner\"");
    state.memberships[1].is_revocable = false;
    let plan = plan(&wanted(&[]), &state, &rules()).expect("a plan");
    assert_eq!((plan.changes.len(), plan.notices.len()), (0, 1));
}

#[test]
fn roles_that_we_did_not_make_are_never_touched() {
    let mut foreign = made(&["readers"]);
    foreign.role = Some(Role::default());
    foreign.holders.clear();
    assert_eq!(planned(&wanted(&["writers"]), &foreign), [""; 0]);
    assert_eq!(disable(&foreign), Plan::default());

    let mut privileged = made(&["readers"]);
    if let Some(role) = &mut privileged.role {
        role.is_privileged = true;
    }
    assert_eq!(planned(&wanted(&["writers"]), &privileged), [""; 0]);
    assert_eq!(disable(&privileged), Plan::default());
}

#[test]
fn a_group_with_privileges_and_a_subject_are_never_given() {
    let mut state = empty();
    state.groups[1].is_privileged = true;
    state.groups[2].is_subject = true;
    let plan = plan(&wanted(&["readers", "writers", "x_9"]), &state, &rules()).expect("a plan");
    assert!(!plan.changes.iter().any(|change| matches!(change, Change::Grant { group } if group != "app_user")));
    assert_eq!(plan.notices.len(), 3);
}

#[test]
fn without_the_roles_that_all_have_there_is_no_subject() {
    let mut state = empty();
    state.groups.remove(0);
    assert_eq!(plan(&wanted(&[]), &state, &rules()), Err(Impossible::NoSuchRole("app_user".to_owned())));
    let mut state = empty();
    state.groups[0].is_privileged = true;
    assert_eq!(plan(&wanted(&[]), &state, &rules()), Err(Impossible::Unsuitable("app_user".to_owned())));
}

#[test]
fn an_older_token_changes_no_group_and_a_newer_one_does() {
    let older = Wanted { groups_as_of: Some(99), ..wanted(&["writers"]) };
    assert_eq!(planned(&older, &made(&["readers"])), [""; 0]);
    let newer = Wanted { groups_as_of: Some(101), ..wanted(&["writers"]) };
    let sql = planned(&newer, &made(&["readers"]));
    assert_eq!(sql.len(), 3);
    assert!(sql[2].contains("groups_as_of=101"), "{sql:?}");
}

#[test]
fn a_token_without_a_time_changes_no_group_that_has_one() {
    let undated = |groups| Wanted { groups_as_of: None, ..wanted(groups) };
    assert_eq!(planned(&undated(&["writers"]), &made(&["readers"])), [""; 0]);
    let mut state = made(&["readers"]);
    if let Some(marker) = state.role.as_mut().and_then(|role| role.marker.as_mut()) {
        marker.groups_as_of = None;
    }
    assert_eq!(planned(&undated(&[]), &state).len(), 2, "where none has a time, they count as they come");
}

#[test]
fn a_role_is_one_subjects_alone() {
    let other = Wanted { subject: Some("s2".to_owned()), ..wanted(&["readers"]) };
    for mut state in [made(&["readers"]), made(&[])] {
        assert_eq!(plan(&other, &state, &rules()), Err(Impossible::OfAnother("alice".to_owned())));
        if let Some(marker) = state.role.as_mut().and_then(|role| role.marker.as_mut()) {
            marker.disabled = true;
        }
        assert_eq!(plan(&other, &state, &rules()), Err(Impossible::OfAnother("alice".to_owned())));
    }
    // An administrator names no subject, and without groups there is nothing to keep apart.
    let nobody = Wanted { subject: None, ..wanted(&["writers"]) };
    let sql = planned(&nobody, &made(&["readers"]));
    assert!(sql[2].contains("subject=s1"), "{sql:?}");
}

#[test]
fn a_role_of_nobody_becomes_a_subjects_and_an_older_token_gives_it_nothing() {
    let mut state = made(&["readers", "x_1"]);
    if let Some(marker) = state.role.as_mut().and_then(|role| role.marker.as_mut()) {
        marker.subject = None;
    }
    let sql = planned(&wanted(&["readers", "x_1"]), &state);
    assert!(sql.len() == 1 && sql[0].contains("subject=s1"), "{sql:?}");
    let older = Wanted { groups_as_of: Some(99), ..wanted(&["readers", "writers"]) };
    let sql = planned(&older, &state);
    assert_eq!(sql[0], "REVOKE \"x_1\" FROM \"alice\"");
    assert!(sql.len() == 2 && sql[1].contains("groups_as_of=100; subject=s1"), "{sql:?}");
}

#[test]
fn valid_until_follows_the_token_when_its_margin_is_used_up() {
    let wanted = Wanted { valid_until: Some((1_000, 600)), ..wanted(&[]) };
    let mut state = made(&[]);
    assert_eq!(planned(&wanted, &state)[0], "ALTER ROLE \"alice\" VALID UNTIL '1970-01-01 00:26:40 UTC'");
    for (until, is_enough) in [(999, false), (1_000, true), (1_600, true), (9_999, true)] {
        if let Some(role) = &mut state.role {
            role.valid_until = Some(until);
        }
        assert_eq!(planned(&wanted, &state).is_empty(), is_enough, "{until}");
    }
}

#[test]
fn a_disabled_role_is_given_back_by_the_next_token() {
    let before = made(&["readers"]);
    let sql: Vec<_> = disable(&before).changes.iter().map(|change| change.sql("alice")).collect();
    assert_eq!(sql[0], "REVOKE \"alice\" FROM \"gateway\"");
    assert!(sql[1].ends_with("; disabled'"), "{sql:?}");

    let mut after = before;
    after.holders.clear();
    if let Some(marker) = after.role.as_mut().and_then(|role| role.marker.as_mut()) {
        marker.disabled = true;
    }
    assert_eq!(disable(&after), Plan::default(), "once is enough");
    let sql = planned(&wanted(&["readers"]), &after);
    assert_eq!(sql[0], "GRANT \"alice\" TO \"gateway\"");
    assert!(sql.len() == 2 && !sql[1].contains("disabled"), "{sql:?}");
}

#[test]
fn the_day_is_noted_once() {
    let mut state = made(&[]);
    state.today = "2026-11-22".to_owned();
    let sql = planned(&wanted(&[]), &state);
    assert!(sql.len() == 1 && sql[0].contains("seen=2026-11-22"), "{sql:?}");
}

#[test]
fn a_name_is_quoted_byte_for_byte_in_every_statement() {
    let role = "o\"brien'; DROP ROLE x --\\";
    let changes = [
        Change::Make { login: true },
        Change::Login(false),
        Change::ValidUntil(7),
        Change::Grant { group: role.to_owned() },
        Change::Revoke { group: role.to_owned(), grantor: Some(role.to_owned()) },
        Change::Admit { account: role.to_owned(), with_options: true },
        Change::Expel { account: role.to_owned(), grantor: None },
        Change::Note(role.to_owned()),
    ];
    for change in &changes {
        let sql = change.sql(role);
        assert!(sql.contains("\"o\"\"brien'; DROP ROLE x --\\\""), "{sql}");
        assert_eq!(pg_query::split_with_parser(&sql).expect("SQL").len(), 1, "{sql}");
    }
}
