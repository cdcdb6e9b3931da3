//! The list by itself: what it finds, what its file may say, and what becomes of it when the file is broken.

use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use tempfile::NamedTempFile;

use super::*;
use crate::config::{Issuer, KeySource};

const ISSUER: &str = "https://a.example";

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn config(file: Option<&NamedTempFile>) -> JwtConfig {
    JwtConfig {
        revocation_file: file.map(|file| file.path().to_owned()),
        max_revocations: 4,
        ..JwtConfig::new(vec![Issuer::new(KeySource::PemFiles(Vec::new()))])
    }
}

fn open(text: &str) -> (Arc<Revocations>, NamedTempFile) {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    (Revocations::open(&config(Some(&file)), None).unwrap(), file)
}

fn refusal(text: &str) -> String {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    Revocations::open(&config(Some(&file)), None).unwrap_err().to_string()
}

fn token<'a>(id: &'a str, subject: &'a str, issued_at: Option<u64>) -> TokenIdentity<'a> {
    let issued_at = issued_at.map(at);
    TokenIdentity { issuer: Some(ISSUER), subject, token_id: Some(id).filter(|id| !id.is_empty()), issued_at }
}

fn subject(name: &str) -> Revocation {
    Revocation::new(Target::Subject(name.to_owned()), None, None, None).unwrap()
}

fn is_revoked(list: &Revocations, token: TokenIdentity<'_>) -> bool {
    list.check(&token).is_err()
}

#[test]
fn a_line_revokes_what_it_names_and_nothing_else() {
    let other = TokenIdentity { issuer: Some("https://b.example"), ..token("id", "alice", Some(100)) };
    let nameless = TokenIdentity { issuer: None, ..token("id", "alice", Some(100)) };
    for (line, this, of_other_issuer, without_issuer) in [
        (r#"{"token_id":"id"}"#, true, true, true),
        (r#"{"token_id":"id","issuer":"https://a.example"}"#, true, false, false),
        (r#"{"token_id":"ID"}"#, false, false, false),
        (r#"{"subject":"alice"}"#, true, true, true),
        (r#"{"subject":"alice","issuer":"https://a.example","note":"left the firm"}"#, true, false, false),
        (r#"{"subject":"bob"}"#, false, false, false),
        (r#"{"issuer":"https://a.example"}"#, true, false, false),
        (r#"{"issuer":"https://b.example"}"#, false, true, false),
        (r#"{"issued_before":101}"#, true, true, true),
        (r#"{"issued_before":100}"#, false, false, false),
        (r#"{"issued_before":"1970-01-01T00:01:41Z"}"#, true, true, true),
        (r#"{"subject":"alice","issued_before":101}"#, true, true, true),
        (r#"{"subject":"bob","issued_before":101}"#, false, false, false),
        (r#"{"issuer":"https://a.example","issued_before":101}"#, true, false, false),
        (r#"{"token_id":"id","expires":1}"#, false, false, false),
        ("# nothing\n\n  \r\n", false, false, false),
        ("{\"subject\":\"alice\"}\n{\"subject\":\"alice\",\"withdrawn\":true}", false, false, false),
        ("{\"subject\":\"alice\",\"withdrawn\":true}\n{\"subject\":\"alice\"}", true, true, true),
        ("{\"subject\":\"alice\"}\n{\"subject\":\"alice\",\"issuer\":\"x\",\"withdrawn\":true}", true, true, true),
    ] {
        let (list, _file) = open(line);
        assert_eq!(is_revoked(&list, token("id", "alice", Some(100))), this, "{line}");
        assert_eq!(is_revoked(&list, other), of_other_issuer, "{line}");
        assert_eq!(is_revoked(&list, nameless), without_issuer, "{line}");
    }
}

#[test]
fn a_token_that_does_not_say_when_it_was_issued_is_older_than_any_moment() {
    let (list, _file) = open(r#"{"issued_before":1}"#);
    assert!(is_revoked(&list, token("id", "alice", None)));
    assert!(!is_revoked(&list, token("id", "alice", Some(1))));
}

#[test]
fn a_line_that_is_not_understood_is_refused_by_its_number_and_not_repeated() {
    for line in [
        "alice",
        "{}",
        "[]",
        "{\"subject\":\"secret\"",
        r#"{"subject":"secret","subject":"bob"}"#,
        r#"{"subject":7}"#,
        r#"{"subject":""}"#,
        r#"{"subject":"secret","token_id":"b"}"#,
        r#"{"token_id":"secret","issued_before":1}"#,
        r#"{"sub":"secret"}"#,
        r#"{"subject":"secret","expires":"tomorrow"}"#,
        r#"{"subject":"secret","issued_before":-1}"#,
        r#"{"subject":"secret","withdrawn":"yes"}"#,
        r#"{"subject":"secret","withdrawn":true,"extra":{}}"#,
        "{\"subject\":\"secret\"} {}",
        "\u{feff}{\"subject\":\"secret\"}",
    ] {
        let message = refusal(&format!("# one\n{line}\n"));
        assert!(message.contains("line 2: "), "{line}: {message}");
        assert!(!message.contains("secret"), "{message}");
    }
}

#[test]
fn without_its_file_the_list_does_not_open() {
    let missing = JwtConfig { revocation_file: Some("/does/not/exist".into()), ..config(None) };
    assert!(Revocations::open(&missing, None).is_err());
    let folder = tempfile::tempdir().unwrap();
    let folder = JwtConfig { revocation_file: Some(folder.path().to_owned()), ..config(None) };
    assert!(Revocations::open(&folder, None).unwrap_err().to_string().contains("not a file"));
}

#[test]
fn a_broken_line_takes_nothing_away_that_was_known() {
    let (list, mut file) = open("{\"subject\":\"alice\"}\n");
    file.write_all(b"{\"subject\":\"bo").unwrap();
    assert!(list.look(true).is_err());
    assert!(list.problem().unwrap().contains("line 2"));
    assert!(is_revoked(&list, token("", "alice", None)));
    file.write_all(b"b\"}\n").unwrap();
    list.look(true).unwrap();
    assert_eq!(list.problem(), None);
    assert!(is_revoked(&list, token("", "bob", None)));
    std::fs::remove_file(file.path()).unwrap();
    assert!(list.look(false).is_err());
    assert!(is_revoked(&list, token("", "alice", None)) && list.problem().is_some());
}

#[test]
fn what_is_revoked_is_in_the_file_and_holds_in_another_process() {
    // The line before was left without its end.
    let (list, file) = open("{\"subject\":\"carol\"}");
    let number = list.revoke(subject("al\"ice\n")).unwrap();
    let other = Revocations::open(&config(Some(&file)), None).unwrap();
    assert!(is_revoked(&other, token("", "al\"ice\n", None)) && is_revoked(&other, token("", "carol", None)));
    list.withdraw(number).unwrap();
    other.look(true).unwrap();
    for list in [&list, &other] {
        assert!(!is_revoked(list, token("", "al\"ice\n", None)) && is_revoked(list, token("", "carol", None)));
    }
    assert!(matches!(list.withdraw(number), Err(RevokeError::NotFound)));
}

#[test]
fn numbers_stay_when_the_file_is_read_again() {
    let (list, mut file) = open("{\"subject\":\"alice\"}\n{\"subject\":\"bob\"}\n");
    let before = list.number_of(&subject("bob"));
    file.write_all(b"{\"subject\":\"carol\"}\n{\"subject\":\"alice\",\"withdrawn\":true}\n").unwrap();
    list.look(true).unwrap();
    assert!(before.is_some() && list.number_of(&subject("bob")) == before);
    assert_eq!(list.list().iter().map(|listed| listed.number).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn a_revocation_that_cannot_be_stored_holds_all_the_same_and_says_so() {
    let (list, file) = open("");
    std::fs::remove_file(file.path()).unwrap();
    assert!(matches!(list.revoke(subject("alice")), Err(RevokeError::NotStored(_))));
    assert!(is_revoked(&list, token("", "alice", None)));
    assert_eq!(list.list()[0].kept, Kept::Memory);
}

#[test]
fn half_a_line_is_taken_back_and_nothing_of_anybody_else() {
    let line = "{\"subject\":\"alice\"}\n";
    for (behind, left) in
        [("", ""), ("{\"subj", ""), ("{\"subj{\"token_id\":\"t\"}\n", "{\"subj{\"token_id\":\"t\"}\n")]
    {
        let mut file = NamedTempFile::new().unwrap();
        write!(file, "# first\n{behind}").unwrap();
        file::take_back(file.as_file_mut(), 8, line.as_bytes()).unwrap();
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), format!("# first\n{left}"));
    }
}

#[test]
fn when_there_is_no_room_nothing_is_given_up() {
    let list = Revocations::open(&config(None), None).unwrap();
    let soon = SystemTime::now() + Duration::from_secs(60);
    for name in ["a", "b", "c"] {
        list.revoke(subject(name)).unwrap();
    }
    let passing = Revocation::new(Target::Token("t".to_owned()), None, None, Some(at(1))).unwrap();
    list.revoke(passing).unwrap();
    list.revoke(Revocation::new(Target::Token("u".to_owned()), None, None, Some(soon)).unwrap()).unwrap();
    assert!(matches!(list.revoke(subject("d")), Err(RevokeError::Full(4))), "the expired one made room once");
    list.revoke(subject("a")).unwrap();
    assert!(is_revoked(&list, token("u", "a", None)) && list.len() == 4);
    let message = refusal(&(0..5).map(|number| format!("{{\"subject\":\"{number}\"}}\n")).collect::<String>());
    assert!(message.contains("max_revocations is 4"), "{message}");
}

#[test]
fn a_reload_forgets_nothing() {
    let first = Revocations::open(&config(None), None).unwrap();
    first.revoke(subject("alice")).unwrap();
    let same = Revocations::open(&config(None), Some(&first)).unwrap();
    assert!(Arc::ptr_eq(&first, &same));
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "{\"subject\":\"bob\"}").unwrap();
    let in_file = Revocations::open(&config(Some(&file)), Some(&same)).unwrap();
    let without = Revocations::open(&config(None), Some(&in_file)).unwrap();
    for list in [&in_file, &without] {
        assert!(is_revoked(list, token("", "alice", None)) && is_revoked(list, token("", "bob", None)));
    }
    let numbers: std::collections::BTreeSet<_> = in_file.list().iter().map(|listed| listed.number).collect();
    assert_eq!(numbers.len(), 2, "each has its own");
    // The same file, of which a line was taken away, and it says so.
    std::fs::write(file.path(), "{\"end_of_list\":0}\n").unwrap();
    let again = Revocations::open(&config(Some(&file)), Some(&in_file)).unwrap();
    assert!(is_revoked(&again, token("", "alice", None)) && !is_revoked(&again, token("", "bob", None)));
}

#[test]
fn whoever_waits_for_a_change_is_told() {
    let list = Revocations::open(&config(None), None).unwrap();
    let mut changes = list.changes();
    assert!(!changes.has_changed().unwrap());
    list.revoke(subject("alice")).unwrap();
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    list.withdraw(1).unwrap();
    assert!(changes.has_changed().unwrap());
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        name in "\\PC{1,20}|[\0-\u{1f}\"\\\\]{1,5}",
        kind in 0..3,
        issuer in proptest::option::of("\\PC{1,20}"),
        issued in proptest::option::of(0u64..253_402_300_799),
        expires in proptest::option::of(0u64..253_402_300_799),
        nanos in 0u32..1_000_000_000,
        withdrawn: bool,
    ) {
        let moment = |seconds: u64| at(seconds) + Duration::from_nanos(nanos.into());
        let target = match kind {
            0 => Target::Token(name),
            1 => Target::Subject(name),
            _ => Target::All,
        };
        let issued = issued.map(moment).filter(|_| kind > 0);
        let Ok(revocation) = Revocation::new(target, issuer, issued, expires.map(moment)) else { return Ok(()) };
        let text = line::write(&revocation, Some(at(7)), withdrawn);
        prop_assert_eq!(text.matches('\n').count(), 1);
        let Some(line::Said::Entry(read)) = line::read(text.as_bytes()).unwrap() else { panic!("{text}") };
        prop_assert!(read.revocation.is_alike(&revocation));
        prop_assert_eq!((read.withdrawn, read.revoked_at), (withdrawn, Some(at(7))));
        prop_assert!(withdrawn || read.revocation == revocation);
    }

    #[test]
    fn no_line_ends_the_process(text in proptest::collection::vec(any::<u8>(), 0..100), moment in "\\PC{0,30}") {
        let _ = line::read(&text);
        let _ = line::read(format!("{{\"subject\":\"a\",\"expires\":\"{moment}\"}}").as_bytes());
        let _ = parse_moment(&moment);
    }
}

#[test]
fn a_moment_that_cannot_be_written_down_is_refused() {
    let far = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::MAX / 1_000);
    for moment in [far, at(0) - Duration::from_secs(1)] {
        for (issued, expires) in [(Some(moment), None), (None, Some(moment))] {
            let refused = Revocation::new(Target::Subject("a".to_owned()), None, issued, expires);
            assert_eq!(refused, Err(RevocationError::Moment));
        }
    }
}

#[test]
fn moments_are_read_as_people_and_postgresql_write_them() {
    for text in [
        "2026-01-31T12:00:00Z",
        "2026-01-31t12:00:00z",
        "2026-01-31 12:00:00",
        " 2026-01-31 12:00:00.000+00 ",
        "2026-01-31 14:30:00+02:30",
        "2026-01-31T09:00:00-03",
    ] {
        assert_eq!(parse_moment(text), Some(at(1_769_860_800)), "{text}");
    }
    assert_eq!(parse_moment("2026-01-31"), Some(at(1_769_817_600)));
    for text in
        ["", "now", "2026-13-01", "12:00", "2026-01-31 25:00:00", "1969-12-31", "2026-01-31Tüüü", "-", "²026-01-31"]
    {
        assert_eq!(parse_moment(text), None, "{text}");
    }
}
