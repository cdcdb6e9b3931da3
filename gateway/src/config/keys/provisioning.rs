//! `[jwt.provisioning]`.

use pgdog_jwt::reader::{
    Count, Filled, Flag, Key, SecretKey, Setting, Special, Strings, Time, Unit, Word, key, setting,
};

use crate::config::choices::ValidUntil;

/// In seconds.
const DAY: i64 = 24 * 60 * 60;
/// Longest wait that may be configured, in milliseconds (S9).
const LONGEST_WAIT: i64 = 600_000;

pgdog_jwt::keys! {
    /// Roles that logins make in PostgreSQL.
    pub(in crate::config) static PROVISIONING: Table = "[jwt.provisioning]" {
        /// Make roles for token subjects at their logins.
        ENABLED: Setting<Flag> = setting("enabled", Flag, false);
        /// The account that makes and changes roles.
        ADMIN_USER: Key<Filled> = key("admin_user", Filled);
        /// Its password.
        ADMIN_PASSWORD: SecretKey = pgdog_jwt::secret!("admin_password");
        /// Roles that every subject is in.
        ROLES: Key<Strings> = key("roles", Strings);
        /// Which groups of tokens stand for which roles: a list of names that are both; or a table jwt.provisioning.groups of a group and its role, or a list of roles.
        GROUPS: Key<Special> = key("groups", Special { type_name: "list or table", schema: super::groups });
        /// The claim with the subject's groups, a string or a list of strings: an exact name, or a path with dots.
        GROUPS_CLAIM: Setting<Filled> = setting("groups_claim", Filled, "groups");
        /// The issuer's userinfo endpoint, asked with the token when the token does not have that claim. https://, or http:// to a loopback address.
        USERINFO_URL: Key<Filled> = key("userinfo_url", Filled);
        /// How long an answer counts for the token that it was given for: a change of groups at the issuer takes as long to be seen.
        USERINFO_CACHE_TTL: Setting<Time> = setting("userinfo_cache_ttl", Time::seconds(0, DAY), 300);
        /// Longest wait for a connection to it.
        USERINFO_CONNECT_TIMEOUT: Setting<Time> = setting("userinfo_connect_timeout", Time::millis(1, LONGEST_WAIT), 2_000);
        /// Longest wait for an answer.
        USERINFO_TIMEOUT: Setting<Time> = setting("userinfo_timeout", Time::millis(1, LONGEST_WAIT), 5_000);
        /// Largest answer.
        USERINFO_MAX_BODY_SIZE: Setting<Count> = setting("userinfo_max_body_size", Count::from(1).of(Unit::Bytes), 65_536);
        /// token: VALID UNTIL of a role follows its tokens.
        VALID_UNTIL: Setting<Word<ValidUntil>> = setting("valid_until", Word::ANY, ValidUntil::None);
        /// How much later than the token's end that is.
        VALID_UNTIL_MARGIN: Setting<Time> = setting("valid_until_margin", Time::seconds(0, 365 * DAY), 3_600);
        /// Roles of ours for which no token was seen for so long are disabled: they lose LOGIN, and the gateway can no longer become them.
        DISABLE_AFTER: Key<Count> = key("disable_after", Count::within(1, 36_500).of(Unit::Days));
        /// How long a role that was right is not looked at again.
        RECHECK: Setting<Time> = setting("recheck", Time::seconds(0, DAY), 60);
        /// Longest wait of a login for all that it needs of PostgreSQL here.
        TIMEOUT: Setting<Time> = setting("timeout", Time::millis(1, LONGEST_WAIT), 5_000);
    }
}
