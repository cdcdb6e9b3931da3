//! `[audit]`.

use pgdog_jwt::reader::{Count, FilePath, Flag, Key, Setting, Strings, Unit, Word, key, setting};

use crate::config::choices::{AuditDestination, AuditFailure, StatementAudit};

/// Longest text of a statement that may be recorded, in bytes (S9).
const LONGEST_STATEMENT: i64 = 64 * 1024;

pgdog_jwt::keys! {
    /// Who did what.
    pub(in crate::config) static AUDIT: Table = "[audit]" {
        /// log: lines of the log, in its format and subject to log_level. stderr and file: JSON lines of their own, in no way mixed with others.
        DESTINATION: Setting<Word<AuditDestination>> = setting("destination", Word::ANY, AuditDestination::Log);
        /// With destination = "file".
        FILE: Key<FilePath> = key("file", FilePath);
        /// While an event cannot be written (the disk is full): refuse_logins lets nobody in whose login is not on record; continue lets them in and puts the event into the log.
        ON_FAILURE: Setting<Word<AuditFailure>> = setting("on_failure", Word::ANY, AuditFailure::RefuseLogins);
        /// Record each statement when it has ended: by a number that is the same for statements that differ in constants alone, or by its text without them as well.
        STATEMENTS: Setting<Word<StatementAudit>> = setting("statements", Word::ANY, StatementAudit::None);
        /// Only statements of these users, roles or subjects: names, or a beginning and *.
        STATEMENTS_FOR: Key<Strings> = key("statements_for", Strings).or("everybody");
        /// What is recorded of a text, and of all parameters together.
        STATEMENT_MAX_LENGTH: Setting<Count> = setting("statement_max_length", Count::within(1, LONGEST_STATEMENT).of(Unit::Bytes), 2_048);
        /// With text, also record the values of parameters that are data by the text.
        STATEMENT_PARAMETERS: Setting<Flag> = setting("statement_parameters", Flag, false);
    }
}
