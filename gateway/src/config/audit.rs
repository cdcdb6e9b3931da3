//! `[audit]`: where the events go that say who did what, and which statements are among them.

use std::path::PathBuf;

use pgdog_jwt::reader::Section;

use super::choices::{AuditDestination, AuditFailure, StatementAudit};
use super::keys::audit as keys;

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Audit {
    pub(crate) destination: AuditDestination,
    /// Present exactly when the destination is a file.
    pub(crate) file: Option<PathBuf>,
    pub(crate) on_failure: AuditFailure,
    pub(crate) statements: StatementAudit,
    /// Users, roles or subjects, or beginnings followed by `*`; empty: everybody.
    pub(crate) statements_for: Vec<String>,
    /// In bytes.
    pub(crate) statement_max_length: usize,
    pub(crate) statement_parameters: bool,
}

impl Audit {
    /// Whether the statements of somebody with these names are recorded.
    pub(crate) fn records_statements_of<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> bool {
        let is_meant = |name: &str| {
            self.statements_for.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(beginning) => name.starts_with(beginning),
                None => name == pattern,
            })
        };
        self.statements != StatementAudit::None && (self.statements_for.is_empty() || names.any(is_meant))
    }
}

/// Reads the section.
pub(super) fn audit(section: &Section<'_>) -> Audit {
    let destination = section.value(&keys::DESTINATION);
    let file = section.given(&keys::FILE);
    let audit = Audit {
        destination,
        file: file.clone().filter(|_| destination == AuditDestination::File),
        on_failure: section.value(&keys::ON_FAILURE),
        statements: section.value(&keys::STATEMENTS),
        statements_for: section.given(&keys::STATEMENTS_FOR).unwrap_or_default(),
        statement_max_length: section.value(&keys::STATEMENT_MAX_LENGTH),
        statement_parameters: section.value(&keys::STATEMENT_PARAMETERS),
    };
    match (destination, file) {
        (AuditDestination::File, None) => {
            section.report.error(section.spot("destination"), "\"destination\" = \"file\" needs a \"file\"");
        }
        (AuditDestination::Log | AuditDestination::Stderr, Some(_)) => {
            section.report.warn(section.spot("file"), "\"file\" is not used unless \"destination\" is \"file\"");
        }
        _ => {}
    }
    if audit.statement_parameters && audit.statements != StatementAudit::Text {
        let reason = "\"statement_parameters\" has no effect unless \"statements\" is \"text\"";
        section.report.warn(section.spot("statement_parameters"), reason);
    }
    let malformed =
        |pattern: &&String| pattern.is_empty() || pattern.strip_suffix('*').unwrap_or(pattern).contains('*');
    if let Some(pattern) = audit.statements_for.iter().find(malformed) {
        let reason =
            format!("\"{pattern}\" in \"statements_for\" must be a name, or a beginning followed by one \"*\"");
        section.report.error(section.spot("statements_for"), reason);
    }
    audit
}
