//! A file that has lost lines: somebody truncated it and writes it anew in place, or a disk came back without its end. What
//! it said before holds until the loss is meant.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;

use super::*;
use crate::config::{Issuer, KeySource};

const BOTH: &str = "{\"subject\":\"alice\"}\n{\"subject\":\"bob\"}\n";

fn config(file: &NamedTempFile, limit: usize) -> JwtConfig {
    JwtConfig {
        revocation_file: Some(file.path().to_owned()),
        max_revocations: limit,
        ..JwtConfig::new(vec![Issuer::new(KeySource::PemFiles(Vec::new()))])
    }
}

fn open(text: &str) -> (Arc<Revocations>, NamedTempFile) {
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    (Revocations::open(&config(&file, 10), None).unwrap(), file)
}

/// Which of these subjects are revoked.
fn revoked(list: &Revocations) -> Vec<&'static str> {
    let is_revoked =
        |subject: &&str| list.check(&TokenIdentity { issuer: None, subject, token_id: None, issued_at: None }).is_err();
    ["alice", "bob", "carol"].into_iter().filter(is_revoked).collect()
}

/// What is revoked after the file was written so, and whether the file is taken as it is.
fn after(list: &Revocations, file: &NamedTempFile, text: &str) -> (Vec<&'static str>, bool) {
    fs::write(file.path(), text).unwrap();
    let is_taken = list.look(true).is_ok();
    assert_eq!(is_taken, list.problem().is_none());
    (revoked(list), is_taken)
}

#[test]
fn what_a_file_loses_without_a_word_holds() {
    let (list, file) = open(BOTH);
    for rest in ["", "\n", "# nothing\n", "{\"subject\":\"alice\"}\n", "{\"subject\":\"alice\"}"] {
        assert_eq!(after(&list, &file, rest), (vec!["alice", "bob"], false), "{rest:?}");
        assert!(list.look(true).is_err(), "and it is not forgotten that it was lost");
    }
    assert!(list.problem().unwrap().contains("1 revocation that still holds is gone"), "{:?}", list.problem());
    assert_eq!(after(&list, &file, BOTH), (vec!["alice", "bob"], true));
}

#[test]
fn what_a_file_adds_counts_while_what_it_lost_holds() {
    let (list, file) = open(BOTH);
    assert_eq!(after(&list, &file, "{\"subject\":\"carol\"}\n"), (vec!["alice", "bob", "carol"], false));
    let lost: Vec<_> = list.list().into_iter().filter(|listed| listed.kept == Kept::Lost).collect();
    assert_eq!(lost.len(), 2);
    // The next version of the file has lost it all the same.
    assert_eq!(after(&list, &file, "{\"subject\":\"bob\"}\n"), (vec!["alice", "bob", "carol"], false));
}

#[test]
fn a_whole_file_may_leave_out_what_it_likes() {
    for (text, expected) in [
        ("{\"subject\":\"bob\"}\n{\"end_of_list\":1}\n", vec!["bob"]),
        ("{\"end_of_list\":0}", vec![]),
        (
            "# tidy\n\n{\"subject\":\"carol\",\"withdrawn\":true}\n{\"subject\":\"bob\"}\n{\"end_of_list\":2}\n\n",
            vec!["bob"],
        ),
        ("{\"end_of_list\":0}\n{\"subject\":\"bob\"}\n{\"end_of_list\":1}\n", vec!["bob"]),
    ] {
        let (list, file) = open(BOTH);
        assert_eq!(after(&list, &file, text), (expected, true), "{text:?}");
    }
}

#[test]
fn a_file_is_whole_only_when_nothing_follows_its_end() {
    let (list, file) = open(BOTH);
    let appended = "{\"end_of_list\":0}\n{\"subject\":\"bob\"}\n";
    assert_eq!(after(&list, &file, appended), (vec!["alice", "bob"], false));
    assert_eq!(after(&list, &file, &format!("{{\"end_of_list\":0}}\n{BOTH}")), (vec!["alice", "bob"], true));
}

#[test]
fn an_end_that_counts_other_lines_is_refused_as_is_one_that_is_cut() {
    let (list, file) = open(BOTH);
    for text in [
        "{\"subject\":\"bob\"}\n{\"end_of_list\":2}\n",
        "{\"end_of_list\":1}\n",
        "{\"subject\":\"bob\"}\n{\"end_of_list\":0}\n",
        "{\"end_of_list\":\"0\"}\n",
        "{\"end_of_list\":-1}\n",
        "{\"end_of_list\":0.5}\n",
        "{\"end_of_list\":0,\"note\":\"x\"}\n",
        "{\"end_of_list\":",
    ] {
        assert_eq!(after(&list, &file, text), (vec!["alice", "bob"], false), "{text:?}");
        let other = NamedTempFile::new().unwrap();
        fs::write(other.path(), text).unwrap();
        assert!(Revocations::open(&config(&other, 10), None).is_err(), "nor does a gateway start with it: {text:?}");
    }
}

#[test]
fn every_beginning_of_a_new_version_leaves_what_holds() {
    let new = "{\"subject\":\"carol\"}\n{\"subject\":\"bob\"}\n{\"end_of_list\":2}\n";
    for length in 0..new.len() - 1 {
        let (list, file) = open(BOTH);
        let (revoked, is_taken) = after(&list, &file, &new[..length]);
        assert!(!is_taken && revoked.starts_with(&["alice", "bob"]), "{length}: {revoked:?}");
        assert_eq!(after(&list, &file, new), (vec!["bob", "carol"], true), "{length}");
    }
}

#[test]
fn what_a_line_withdraws_is_not_lost() {
    let (list, file) = open(BOTH);
    let withdraws = "{\"subject\":\"alice\",\"withdrawn\":true}\n{\"subject\":\"bob\"}\n";
    assert_eq!(after(&list, &file, withdraws), (vec!["bob"], true));
}

#[test]
fn a_line_that_withdrew_it_before_does_not_withdraw_it_again() {
    let history = "{\"subject\":\"alice\"}\n{\"subject\":\"alice\",\"withdrawn\":true}\n{\"subject\":\"alice\"}\n";
    let (list, file) = open(history);
    let beginning = history.split_inclusive('\n').take(2).collect::<String>();
    assert_eq!(after(&list, &file, &beginning), (vec!["alice"], false));
    assert_eq!(
        after(&list, &file, &format!("{beginning}{{\"subject\":\"alice\",\"withdrawn\":true}}\n")),
        (vec![], true)
    );
}

#[test]
fn what_was_lost_can_be_withdrawn() {
    let (list, file) = open(BOTH);
    assert_eq!(after(&list, &file, ""), (vec!["alice", "bob"], false));
    let numbers: Vec<_> = list.list().iter().map(|listed| listed.number).collect();
    list.withdraw(numbers[0]).unwrap();
    assert_eq!(revoked(&list), ["bob"]);
    assert!(list.look(true).is_err());
    list.withdraw(numbers[1]).unwrap();
    assert!(list.look(true).is_ok() && revoked(&list).is_empty());
}

#[test]
fn what_holds_shorter_than_before_is_lost_as_well() {
    let soon = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + 60;
    let short = format!("{{\"subject\":\"alice\",\"expires\":{soon}}}\n");
    let (list, file) = open(&format!("{short}{{\"subject\":\"alice\"}}\n"));
    assert!(!after(&list, &file, &short).1);
    assert_eq!(list.list()[0].revocation.expires_at(), None);
    assert!(after(&list, &file, &format!("{short}{{\"end_of_list\":1}}\n")).1);
    assert!(list.list()[0].revocation.expires_at().is_some());
}

#[test]
fn a_line_does_not_shorten_what_only_the_process_knows() {
    let (list, file) = open("");
    fs::remove_file(file.path()).unwrap();
    let for_good = Revocation::new(Target::Subject("alice".to_owned()), None, None, None).unwrap();
    assert!(matches!(list.revoke(for_good), Err(RevokeError::NotStored(_))));
    let soon = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + 60;
    for _ in 0..2 {
        let line = format!("{{\"subject\":\"alice\",\"expires\":{soon}}}\n");
        assert_eq!(after(&list, &file, &line), (vec!["alice"], true));
        let listed = &list.list()[0];
        assert_eq!((listed.revocation.expires_at(), listed.kept), (None, Kept::Memory));
    }
    assert_eq!(after(&list, &file, "{\"subject\":\"alice\"}\n"), (vec!["alice"], true));
    assert_eq!(list.list()[0].kept, Kept::File);
}

#[test]
fn what_has_expired_may_go() {
    let past = SystemTime::now() - Duration::from_secs(3_600);
    let (list, file) = open("");
    let passed = Revocation::new(Target::Subject("alice".to_owned()), None, None, Some(past)).unwrap();
    list.revoke(passed).unwrap();
    list.look(true).unwrap();
    assert_eq!(after(&list, &file, ""), (vec![], true));
}

#[test]
fn a_reload_with_another_limit_loses_nothing_either() {
    let (list, file) = open(BOTH);
    fs::write(file.path(), "").unwrap();
    assert!(Revocations::open(&config(&file, 20), Some(&list)).is_err());
    fs::write(file.path(), BOTH).unwrap();
    let other = Revocations::open(&config(&file, 20), Some(&list)).unwrap();
    assert_eq!(revoked(&other), ["alice", "bob"]);
    assert_eq!(after(&other, &file, ""), (vec!["alice", "bob"], false));
}

#[test]
fn there_is_no_room_for_what_was_lost_and_for_more() {
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), BOTH).unwrap();
    let list = Revocations::open(&config(&file, 2), None).unwrap();
    assert_eq!(after(&list, &file, "{\"subject\":\"carol\"}\n"), (vec!["alice", "bob"], false));
    assert_eq!(list.len(), 2);
}
