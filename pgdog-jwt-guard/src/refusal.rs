//! What a client hears when the guard refuses: `42501`, insufficient_privilege, and a hint. A host says what is wrong with a text
//! that is not PostgreSQL's grammar as PostgreSQL does, see [`crate::syntax_error`].

use super::class::Refusal;

impl Refusal {
    /// Whether it keeps `role` and `session_authorization` what they are.
    pub(super) fn is_about_identity(&self) -> bool {
        std::ptr::eq(self, &raw const IDENTITY)
    }

    /// Whether a text that it refuses may pass where the host knows more: who the session is, what is installed.
    pub(super) fn is_for_the_host(&self) -> bool {
        self.is_about_identity() || std::ptr::eq(self, &raw const CREATE_CODE)
    }

    /// Whether the text cannot be read: [`crate::syntax_error`] may know why.
    pub fn is_about_syntax(&self) -> bool {
        std::ptr::eq(self, &raw const UNPARSABLE)
    }
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident: $message:literal, $hint:literal;)*) => {
        $($(#[$doc])* pub(super) static $name: Refusal = Refusal { sqlstate: "42501", message: $message, hint: $hint };)*
    };
}

refusals! {
    /// `SET ROLE` and all its spellings.
    IDENTITY: "permission denied to change the session's role",
        "The role comes from the token that the session logged in with. Log in with another token to be somebody else.";
    /// A variable that carries identity.
    PROTECTED: "permission denied to change a protected variable",
        "The gateway sets this variable for the session, and the session cannot change it.";
    /// `BEGIN READ WRITE` of a read-only user.
    READ_ONLY: "permission denied to leave read-only mode",
        "The user is read-only: replicas serve it, and nothing else does.";
    /// `set_config($1, …)`.
    SET_CONFIG_NAME: "permission denied to call set_config with a name that is not a constant",
        "Write the variable's name as a plain string constant; its value may be anything.";
    /// `set_config` anywhere but in a call.
    FUNCTION_NAMED: "permission denied to refer to a function that can change settings or run SQL, other than by calling it",
        "Call the function directly.";
    /// `query_to_xml` and its family.
    RUNS_SQL: "permission denied for functions that run SQL given as text",
        "Send the query itself.";
    /// Writes to the settings view.
    PG_SETTINGS: "permission denied to write to pg_settings",
        "Use SET for variables that are not protected; read pg_settings with SELECT, outside of views.";
    /// `ALTER SYSTEM`.
    ALTER_SYSTEM: "permission denied for ALTER SYSTEM",
        "Connect to PostgreSQL directly to administer it.";
    /// `DO`.
    DO_BLOCK: "permission denied to run anonymous code blocks",
        "Send the statements one by one, or call a function that the database's owner wrote. guard = \"standard\" allows DO.";
    /// `CREATE FUNCTION`, `CREATE PROCEDURE`.
    CREATE_FUNCTION: "permission denied to create functions or procedures",
        "Connect to PostgreSQL directly to change its code. guard = \"standard\" allows it.";
    /// Extensions, languages, event triggers, transforms.
    CREATE_CODE: "permission denied to install code in the database",
        "Connect to PostgreSQL directly to change its code. guard = \"standard\" allows it.";
    /// `standard_conforming_strings = off`.
    PLAIN_STRINGS: "permission denied to turn standard_conforming_strings off",
        "The gateway must read strings as the server does. Use E'…' for strings with escapes.";
    /// An encoding that hides quotes.
    ENCODING: "permission denied to use this client encoding",
        "The gateway must read quotes as the server does. Use UTF8, or an encoding that keeps ASCII bytes to themselves.";
    /// `RESET ALL` with company.
    NOT_ALONE: "RESET ALL must be sent on its own",
        "Send it as a query of its own.";
    /// Not in PostgreSQL's grammar.
    UNPARSABLE: "statement cannot be read",
        "The gateway forwards only statements that it can read with the grammar of PostgreSQL 18.";
    /// Nested beyond the parser's limit.
    TOO_DEEP: "statement is nested too deeply for the gateway to read",
        "Split the statement, or use fewer levels of nesting.";
    /// `ALTER ROLE … PASSWORD`, `VALID UNTIL`.
    PASSWORD: "permission denied to change a role's password, or how long it is valid",
        "It would outlive the token. Connect to PostgreSQL directly to change it.";
    /// Roles, memberships, and what is attached to them, of an account that is not one subject's alone.
    SHARED_ROLE: "permission denied to change roles, or what is attached to them, with an account that several subjects share",
        "The change would reach all of them. Connect to PostgreSQL directly as an administrator of roles.";
    /// `CREATE SCHEMA`, `ALTER SCHEMA … RENAME`.
    SHARED_NAMES: "permission denied to create or rename schemas with an account that several subjects share",
        "A schema with the account's name goes before all others in their search_path. Connect to PostgreSQL directly as its owner.";
    /// `PREPARE TRANSACTION` and what ends it.
    SHARED_TRANSACTION: "permission denied for two-phase transactions with an account that several subjects share",
        "Each of them could commit it or roll it back. Use a transaction of one session.";
    /// `pg_cancel_backend` and its like.
    SHARED_SESSIONS: "permission denied for functions that reach other sessions or the whole server, with an account that several subjects share",
        "Send a cancel request to cancel a statement of your own. pg_cancel_backend(pg_backend_pid()) is allowed, written so.";
    /// Bytes that are no text.
    NOT_UTF8: "statement is not valid UTF-8",
        "Set client_encoding to UTF8.";
    /// `options` that are not `-c name=value`.
    OPTIONS: "permission denied to use this option in the start-up packet",
        "Write options as -c name=value or --name=value.";
    /// By its number.
    FUNCTION_CALL: "this function may not be called by number",
        "Call it in a SELECT, where the gateway can read what it does.";
}

/// A text that would take a parser too much memory.
pub(super) static TOO_MANY_WORDS: Refusal = Refusal {
    sqlstate: "54001",
    message: "statement has too many words for the gateway to read",
    hint: "Send it in parts, or values as parameters, or raise max_statement_words in [jwt]. A list of constants counts as one.",
};

/// `DISCARD ALL` in company: what PostgreSQL says itself.
pub(super) static DISCARD_IN_BLOCK: Refusal = Refusal {
    sqlstate: "25001",
    message: "DISCARD ALL cannot run inside a transaction block",
    hint: "Send it as a query of its own.",
};

/// What PostgreSQL says itself.
pub(super) static SETTING_NAME: Refusal = Refusal {
    sqlstate: "42602",
    message: "invalid configuration parameter name",
    hint: "Custom parameter names must be two or more simple identifiers separated by dots.",
};

/// What a client hears whose statement is longer than its host reads, and so is not read at all.
pub static TOO_LONG: Refusal = Refusal {
    sqlstate: "54000",
    message: "statement is longer than the gateway reads",
    hint: "Send data with COPY or as parameters, or raise max_statement_size in [jwt].",
};
