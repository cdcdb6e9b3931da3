//! What a client hears when the guard refuses: always `42501`, insufficient_privilege, and a hint.

use super::class::Refusal;

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
        "The gateway sets this variable from the session's token.";
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
    /// `DISCARD ALL` or `RESET ALL` with company.
    NOT_ALONE: "DISCARD ALL and RESET ALL must be sent on their own",
        "Send it as a query of its own.";
    /// Not in PostgreSQL's grammar.
    UNPARSABLE: "syntax error, or a statement that the gateway cannot parse",
        "The gateway forwards only statements that it can read with PostgreSQL's grammar.";
    /// Nested beyond the parser's limit.
    TOO_DEEP: "statement is nested too deeply for the gateway to read",
        "Split the statement, or use fewer levels of nesting.";
    /// Bytes that are no text.
    NOT_UTF8: "statement is not valid UTF-8",
        "Set client_encoding to UTF8.";
    /// `options` that are not `-c name=value`.
    OPTIONS: "permission denied to use this option in the start-up packet",
        "Write options as -c name=value or --name=value.";
}
