//! Lines that cannot be forged, secrets that are not in them, and words that are documented.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use pgdog_jwt_guard::Masked;
use regex::Regex;
use serde_json::Value;

use super::*;
use crate::config::{Audit, AuditDestination, AuditFailure, StatementAudit};
use crate::stats::{About, Meter};

const DOCUMENT: &str = include_str!("../../../docs/audit.md");

fn policy() -> StatementPolicy {
    let audit = Audit {
        destination: AuditDestination::Log,
        file: None,
        on_failure: AuditFailure::RefuseLogins,
        statements: StatementAudit::Text,
        statements_for: Vec::new(),
        statement_max_length: 40,
        statement_parameters: true,
    };
    StatementPolicy::new(&audit, &About::of("app")).unwrap()
}

/// A text that may be written down as it is, with the parameters that are data.
fn text(text: &str, shown: &[usize]) -> Option<Arc<Masked>> {
    let of_failed = Some("failed".into());
    Some(Arc::new(Masked { text: text.into(), of_failed, fingerprint: 1, shown: shown.into() }))
}

fn parsed(record: &Record<'_>) -> Value {
    let line = record.line();
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
    serde_json::from_slice(&line).unwrap()
}

#[test]
fn no_value_ends_a_line_or_begins_a_field() {
    let user = "eve\n{\"event\":\"login\"}\r\u{2028}\",\"decision\":\"accepted";
    let who = Who { user: Some(user), ..Who::default() };
    let line = parsed(&Record::new(Event::Login, who).refused("expired"));
    assert_eq!((line["user"].as_str(), line["decision"].as_str()), (Some(user), Some("refused")));
    assert!(line["time"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn fields_without_a_value_are_left_out() {
    let meter = Meter::new(About::of("app"));
    let line = parsed(&Record::of_session(Event::Disconnect, 7, meter.card()).because("client_left"));
    let keys: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["client", "database", "event", "reason", "session", "time", "tls", "user"]);
}

#[test]
fn a_long_text_is_cut_between_characters() {
    let statement = policy().describe(text("SELECT \"üüüüüüüüüüüüüüüüüüüüüüüüü\"", &[]));
    let text = statement.statement.unwrap();
    assert!(text.len() <= 40 && text.ends_with('ü'), "{text}");
    assert_eq!(statement.incomplete, Some("cut"));
}

#[test]
fn a_text_that_may_not_be_written_down_is_not() {
    let mut statement = policy().describe(None);
    policy().add_parameters(&mut statement, &[(false, Some(b"swordfish"))]);
    policy().failed(&mut statement);
    assert_eq!((&statement.statement, &statement.parameters, &statement.fingerprint), (&None, &None, &None));
    assert_eq!(statement.incomplete, Some("hidden"));
}

#[test]
fn of_a_statement_that_failed_less_is_recorded() {
    let mut statement = policy().describe(text("SELECT \"swordfish\"", &[]));
    policy().failed(&mut statement);
    assert_eq!(statement.statement.as_deref(), Some("failed"));
}

#[test]
fn a_token_is_never_recorded() {
    let mut statement = policy().describe(text("SELECT \"eyJhbGciOi.eyJzdWIi.c2ln\"", &[1, 2]));
    assert_eq!(statement.statement.as_deref(), Some("SELECT \"[token]\""));
    policy().add_parameters(&mut statement, &[(false, Some(b"of eyJh.eyJz.c2")), (false, Some(b"Bearer opaque"))]);
    assert_eq!(statement.parameters, Some(vec![Some("of [token]".to_owned()), Some("[masked]".to_owned())]));
}

#[test]
fn parameters_that_may_be_secrets_are_not_recorded() {
    let mut statement = policy().describe(text("SELECT $1, $2", &[2, 3, 4, 5]));
    let values: [&[u8]; 6] =
        [b"swordfish", b"data", b"pgdog_jwt.token", b"password=swordfish", b"postgres://a:swordfish@b", b"swordfish"];
    policy().add_parameters(&mut statement, &values.map(|value| (false, Some(value))));
    let shown = statement.parameters.unwrap();
    assert_eq!(shown[1].as_deref(), Some("data"));
    let masked = shown.iter().filter(|value| value.as_deref() == Some("[masked]")).count();
    assert_eq!((masked, statement.incomplete), (5, Some("masked")));
}

#[test]
fn parameters_share_one_limit() {
    let mut statement = policy().describe(text("SELECT $1", &[1, 2, 3]));
    let long = [b'x'; 100];
    policy().add_parameters(&mut statement, &[(true, Some(&[1, 255])), (false, None), (false, Some(&long))]);
    let shown = statement.parameters.unwrap();
    assert_eq!((shown[0].as_deref(), &shown[1]), (Some("\\x01ff"), &None));
    assert_eq!(shown[2].as_ref().map(String::len), Some(34));
    assert_eq!(statement.incomplete, Some("cut"));
}

#[test]
fn the_tag_gives_command_and_rows() {
    let of = |tag| {
        let mut statement = Statement::default();
        statement.completed(tag);
        (statement.command.unwrap(), statement.rows)
    };
    assert_eq!(of("INSERT 0 5"), ("INSERT".to_owned(), Some(5)));
    assert_eq!(of("SELECT 3"), ("SELECT".to_owned(), Some(3)));
    assert_eq!(of("CREATE TABLE"), ("CREATE TABLE".to_owned(), None));
}

/// The words in the first column of the tables of a section.
fn documented(section: &str) -> BTreeSet<String> {
    let heading = format!("\n## {section}\n");
    let text = DOCUMENT.split(&heading).nth(1).unwrap_or_else(|| panic!("no section {section}"));
    let text = text.split("\n## ").next().unwrap_or_default();
    let row = Regex::new(r"(?m)^\| `([a-z0-9_]+)` \|").unwrap();
    row.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

#[test]
fn every_event_is_documented() {
    let events: BTreeSet<_> = Event::ALL.iter().map(|event| event.name().to_owned()).collect();
    assert_eq!(events, documented("Events"));
}

#[test]
fn every_field_is_documented() {
    let about = About::of("app");
    let text = include_str!("record.rs").to_owned() + include_str!("statement.rs");
    let structs = Regex::new(r"(?s)pub\(crate\) struct (?:Record|Who|Statement)(?:<'a>)? \{(.*?)\n\}").unwrap();
    let field = Regex::new(r"(?m)^    (?:pub\(crate\) )?([a-z_]+): ").unwrap();
    let mut fields: BTreeSet<String> = structs
        .captures_iter(&text)
        .flat_map(|body| field.captures_iter(&body[1]).map(|name| name[1].to_owned()).collect::<Vec<_>>())
        .collect();
    // The other structs, and the name of the field that holds a text.
    fields.remove("who");
    fields.remove("masked");
    fields.insert("time".to_owned());
    assert!(fields.contains("user") && fields.contains("rows"), "{fields:?}");
    assert_eq!(fields, documented("Fields"));
    drop(about);
}

/// Every reason in the sources, by the places where reasons stand.
fn reasons() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for folder in ["src/admin", "src/frontend", "src/resolvers", "src/provisioning"] {
        collect(&root.join(folder), &mut sources);
    }
    collect(&root.join("../pgdog-jwt/src/deny"), &mut sources);
    sources.push(std::fs::read_to_string(root.join("../pgdog-jwt/src/deny.rs")).unwrap());
    let places = [
        r#"(?:Refused::(?:new|told|identity|credential)|identity|No|refused|because)\(\s*"([a-z_]+)""#,
        r#"reason: "([a-z_]+)""#,
    ];
    let bodies = Regex::new(
        r#"(?s)fn (?:reason|code)\(&?self\) -> &'static str \{.*?\n    \}|let reason = (?:if|match) .*?;\n"#,
    )
    .unwrap();
    let word = Regex::new(r#"(?:=>|\{) "([a-z_]+)""#).unwrap();
    let mut found = BTreeSet::new();
    for source in &sources {
        let source = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for place in places {
            let place = Regex::new(place).unwrap();
            found.extend(place.captures_iter(source).map(|reason| reason[1].to_owned()));
        }
        for body in bodies.find_iter(source) {
            found.extend(word.captures_iter(body.as_str()).map(|reason| reason[1].to_owned()));
        }
    }
    // A client that leaves before it has shown anything is no event.
    found.remove("left");
    found
}

fn collect(folder: &Path, sources: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            sources.push(std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_reason_is_documented_and_every_documented_reason_exists() {
    let (reasons, documented) = (reasons(), documented("Reasons"));
    let missing: Vec<_> = reasons.difference(&documented).collect();
    let gone: Vec<_> = documented.difference(&reasons).collect();
    assert!(
        reasons.contains("bad_signature") && reasons.contains("wrong_password") && reasons.contains("role_refused")
    );
    assert_eq!((missing.len(), gone.len()), (0, 0), "not in docs/audit.md: {missing:?}; in no source: {gone:?}");
}
