//! The identity core of pgdog-jwt: a credential goes in, a login decision comes out.
//!
//! A host (our gateway, PgDog, another pooler) asks [`Authenticator::authenticate`] who a client is. The answer is an
//! [`AuthDecision`]: *skip* (not a token user, use your own method), *allow* with a grant that says everything the host
//! must enforce, or *deny* with a reason for the audit log. The core verifies signatures and policy; it knows nothing of
//! pools and opens no PostgreSQL socket.
//!
//! A login walks through the modules in this order: `token` (the bytes become one parsed JWS) → `keys` (a key that the
//! issuer published has signed it) → `policy` (issuer, audience, times) → `revocation` (nobody has taken it
//! back) → `identity` (claims become a role) →
//! `decision` (what the host is told). `config` holds what the host said, `authenticator` ties the walk together, `cache`
//! lets a token that was verified before skip the first two steps, `introspection` asks the issuer where only it can read the
//! token. Beside the walk, `proof` signs claims for the database.

//!
//! ```no_run
//! use pgdog_jwt::config::{Issuer, JwksSource, KeySource};
//! use pgdog_jwt::{AuthContext, AuthDecision, Authenticator, Credential, JwtConfig};
//!
//! # async fn login(password: &[u8]) -> Result<(), pgdog_jwt::ConfigError> {
//! let keys = KeySource::Jwks(JwksSource::new("https://issuer.example/.well-known/jwks.json"));
//! let authenticator = Authenticator::new(JwtConfig::new(vec![Issuer::new(keys)]))?;
//! let decision = authenticator
//!     .authenticate(AuthContext {
//!         user: "alice",
//!         database: "app",
//!         credential: Credential::new(password),
//!         client_addr: None,
//!         tls: true,
//!         tls_identity: None,
//!     })
//!     .await;
//! match decision {
//!     AuthDecision::Allow(grant) => println!("be {:?} until {:?}", grant.server_role, grant.expires_at),
//!     AuthDecision::Deny(reason) => println!("refused: {}", reason.code()),
//!     AuthDecision::Skip => println!("ask for a password"),
//! }
//! # Ok(())
//! # }
//! ```

pub mod config;
pub mod proof;
#[cfg(feature = "reader")]
pub mod reader;
pub mod revocation;
pub mod secret;
pub mod server;
pub mod session;
pub mod token;

mod authenticator;
mod cache;
mod claim_policy;
mod claims;
mod decision;
mod deny;
mod file;
mod groups;
mod http;
mod identity;
mod introspection;
mod json;
mod keys;
mod policy;
mod status;
mod userinfo;

pub use authenticator::{Authenticator, Check, Explanation, Step};
pub use cache::CacheStats;
pub use config::{ConfigError, JwtConfig};
pub use decision::{AuthContext, AuthDecision, AuthGrant, Credential, Groups};
pub use deny::DenyReason;
pub use identity::check_role;
pub use status::{IntrospectionStatus, IssuerStatus, KeyState, KeyStatus};
