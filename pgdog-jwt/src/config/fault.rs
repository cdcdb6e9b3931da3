//! Everything that can be wrong with the settings of the core.

use std::path::PathBuf;

/// Why a configuration cannot be used. Names the setting, the file or the URL; never shows a key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// Nobody's tokens would be accepted.
    #[error("no issuer is configured: set a public key file or a JWKS URL")]
    NoIssuer,
    /// Two issuers would claim the same token.
    #[error("another issuer has the same \"issuer\"")]
    DuplicateIssuer,
    /// A setting has a value that cannot work.
    #[error("\"{setting}\" {problem}")]
    Setting {
        /// The setting's name, as files have it.
        setting: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Subjects come by accounts, and there are none.
    #[error(
        "\"service_account\" needs an account that a token's roles lead to; add [[jwt.role_mappings]] or \
         \"default_role_mapping\""
    )]
    NoRoleMapping,
    /// Subjects come by accounts, and have no role that a level could replace.
    #[error("a role in \"permission_levels\" has no place where the token's roles lead to accounts")]
    LevelsGiveRoles,
    /// The issuer's metadata cannot be below what it is called.
    #[error("with \"discovery\", \"issuer\" {0}")]
    Discovery(&'static str),
    /// A role mapping leads to an account that no token may have.
    #[error("role mapping {name:?}: {problem}")]
    RoleMapping {
        /// The mapping's name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The JWKS URL cannot be used.
    #[error("JWKS URL {url:?}: {problem}")]
    JwksUrl {
        /// The URL, without what follows a `?`.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The URL of a userinfo endpoint cannot be used.
    #[error("userinfo URL {url:?}: {problem}")]
    UserinfoUrl {
        /// The URL, without what follows a `?`.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The URL of an introspection endpoint cannot be used.
    #[error("introspection URL {url:?}: {problem}")]
    IntrospectionUrl {
        /// The URL, without what follows a `?`.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Two issuers would be asked about the same token.
    #[error("two issuers are asked about the tokens of users {}", .0.as_deref().map_or_else(|| "without a suffix".to_owned(), |suffix| format!("with the suffix {suffix:?}")))]
    DuplicateIntrospection(Option<String>),
    /// A way to the issuer cannot be used: the URL of a proxy, or the place of its metadata.
    #[error("{what} {problem}")]
    Route {
        /// Which one.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The text of a key set cannot be used.
    #[error("the key set in the configuration {0}")]
    KeySet(&'static str),
    /// A key file cannot be used.
    #[error("key file {}: {problem}", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The revocation file cannot be used: tokens that it names would be good again.
    #[error("revocation file {}: {problem}", path.display())]
    RevocationFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The system did not give what is needed to start.
    #[error("{0}")]
    System(String),
}
