//! `[audit]`.

use super::*;

fn audit(section: &str) -> Audit {
    load(&format!("{SERVER}[audit]\n{section}\n"), "").config.audit
}

#[test]
fn events_go_to_the_log_by_default_and_statements_are_not_among_them() {
    let audit = audit("");
    assert_eq!((audit.destination, audit.file.clone()), (AuditDestination::Log, None));
    assert_eq!(audit.on_failure, AuditFailure::RefuseLogins);
    assert_eq!((audit.statements, audit.statement_max_length), (StatementAudit::None, 2048));
    assert!(!audit.statement_parameters && !audit.records_statements_of(["alice"].into_iter()));
}

#[test]
fn a_file_and_all_else_can_be_said() {
    let audit = audit(
        "destination = \"file\"\nfile = \"/a.json\"\non_failure = \"continue\"\nstatements = \"text\"\n\
         statements_for = [\"bob\", \"dba_*\"]\nstatement_max_length = 100\nstatement_parameters = true",
    );
    assert_eq!(audit.file.as_deref(), Some(Path::new("/a.json")));
    assert_eq!((audit.on_failure, audit.statements), (AuditFailure::Continue, StatementAudit::Text));
    assert_eq!((audit.statement_max_length, audit.statement_parameters), (100, true));
    for (name, is_meant) in [("bob", true), ("bobby", false), ("dba_1", true), ("alice", false)] {
        assert_eq!(audit.records_statements_of([name, "other"].into_iter()), is_meant, "{name}");
    }
}

#[test]
fn a_file_needs_a_name() {
    let text = error(&format!("{SERVER}[audit]\ndestination = \"file\"\n"), "");
    assert!(text.ends_with("\"destination\" = \"file\" needs a \"file\""), "{text}");
}

#[test]
fn a_file_that_is_not_used_is_worth_a_warning() {
    let loaded = load(&format!("{SERVER}[audit]\nfile = \"/a.json\"\n"), "");
    assert_eq!(loaded.config.audit.file, None);
    assert!(warnings(&loaded)[0].contains("\"file\" is not used"));
}

#[test]
fn patterns_have_one_star_at_their_end() {
    for pattern in ["", "a*b", "a**"] {
        let text = error(&format!("{SERVER}[audit]\nstatements_for = [\"{pattern}\"]\n"), "");
        assert!(text.contains("\"statements_for\" must be a name"), "{text}");
    }
}

#[test]
fn a_length_has_a_bound() {
    for length in ["0", "65537"] {
        let text = error(&format!("{SERVER}[audit]\nstatement_max_length = {length}\n"), "");
        assert!(text.contains("from 1 to 65536"), "{text}");
    }
}
