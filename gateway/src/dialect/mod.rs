//! What means something in SQL to the gateway alone: its own settings, the names of its prepared statements, and how a text asks
//! for the primary or for a replica.

mod own_setting;

pub(crate) use own_setting::{CLIENT_FLOW, OwnSetting, is_for_gateway, own_setting};
use pgdog_jwt_guard::{Dialect, Hints, Refusal, Reserved};

/// How the names of the gateway's own prepared statements begin.
pub(crate) const STATEMENT_PREFIX: &str = "__pgdog_jwt_";

/// The setting that chooses the side for a session or a transaction.
pub(crate) const ROLE_SETTING: &str = "pgdog.role";

/// For the guard.
pub(crate) const DIALECT: Dialect = Dialect {
    settings: Some(own_setting::PREFIX),
    startup_parameters: &[CLIENT_FLOW],
    reserved: Some(Reserved { prefix: STATEMENT_PREFIX, refusal: &RESERVED_NAME }),
    hints: Some(Hints { comment: "pgdog_role", setting: ROLE_SETTING }),
    may_hold_secret: own_setting::mentions_own_setting,
};

static RESERVED_NAME: Refusal = Refusal {
    sqlstate: "42501",
    message: "permission denied to use a prepared statement whose name begins with \"__pgdog_jwt_\"",
    hint: "These names are the gateway's own. Use the name that the statement was prepared under.",
};
