//! The walk of one login through the core, and the value that a host keeps for it.

mod explain;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::cache::{CacheStats, Place, TokenCache, Verified};
use crate::claims;
use crate::config::{self, Algorithm, ConfigError, IdentityMode, Issuer, JwtConfig, KeySource, Secret};
use crate::decision::{AuthContext, AuthDecision, AuthGrant};
use crate::deny::DenyReason;
use crate::identity;
use crate::keys::Keys;
use crate::policy::{self, required};
use crate::status::IssuerStatus;
use crate::token::{self, Token};
use crate::userinfo::{self, Userinfo};

pub use explain::{Check, Explanation, Step};

/// Decides logins. Make one, share it by reference or in an `Arc` with every task on every tokio runtime of the process.
///
/// Dropping it ends what it does in the background: watching key files and refreshing key sets.
pub struct Authenticator {
    config: JwtConfig,
    /// As many, and in the order of, `config.issuers`.
    keys: Vec<Keys>,
    /// As many. Who is asked for groups that a token does not name.
    userinfo: Vec<Option<Arc<Userinfo>>>,
    /// What was verified already; `None` when the configuration wants no cache.
    cache: Option<TokenCache>,
}

impl Authenticator {
    /// Checks the configuration and reads key files. No issuer is asked: one that is down must not keep a gateway from
    /// starting. Needs no runtime.
    ///
    /// # Errors
    /// A setting that cannot work, or a key file that cannot be read, by name.
    pub fn new(config: JwtConfig) -> Result<Self, ConfigError> {
        Self::build(config, Keys::open, &[])
    }

    /// An authenticator for a changed configuration. Key sets whose source has not changed are kept, so that a reload
    /// neither asks the issuer nor forgets its keys; key files are read again. No verified token is remembered.
    ///
    /// # Errors
    /// As [`new`](Self::new). `self` stays as it is.
    pub fn reconfigured(&self, config: JwtConfig) -> Result<Self, ConfigError> {
        let open = |issuer: &Issuer| match self.known_keys(issuer) {
            Some(keys) => Ok(keys),
            None => Keys::open(issuer),
        };
        Self::build(config, open, &self.userinfo)
    }

    fn build(
        config: JwtConfig,
        open: impl Fn(&Issuer) -> Result<Keys, ConfigError>,
        known: &[Option<Arc<Userinfo>>],
    ) -> Result<Self, ConfigError> {
        config::check(&config)?;
        let keys = config.issuers.iter().map(open).collect::<Result<_, _>>()?;
        let userinfo = config.issuers.iter().map(|issuer| userinfo::open(issuer, known)).collect::<Result<_, _>>()?;
        let cache = TokenCache::new(config.token_cache_size)?;
        Ok(Self { config, keys, userinfo, cache })
    }

    fn known_keys(&self, issuer: &Issuer) -> Option<Keys> {
        let KeySource::Jwks(source) = &issuer.keys else {
            return None;
        };
        let serves = |keys: &&Keys| matches!(keys, Keys::Jwks(store) if store.serves(source, &issuer.algorithms));
        self.keys.iter().find(serves).cloned()
    }

    /// Whether a start-up user logs in with a token, so that a host knows which credential to ask for.
    pub fn is_token_user(&self, user: &str) -> bool {
        identity::is_token_user(user, &self.config)
    }

    /// Fetches the key sets that were not fetched yet and returns when that has succeeded, failed or timed out. Optional:
    /// a host that calls it when it starts spares its first client the wait.
    pub async fn warm(&self) {
        for keys in &self.keys {
            if let Keys::Jwks(store) = keys {
                store.warm().await;
            }
        }
    }

    /// How the keys of each issuer are, in the order of the configuration.
    pub fn status(&self) -> Vec<IssuerStatus> {
        self.config.issuers.iter().zip(&self.keys).map(|(issuer, keys)| keys.status(issuer)).collect()
    }

    /// Decides one login. Waits only when the token needs a key that is not known, or leaves its groups to the userinfo
    /// endpoint, and for each no longer than the source's `timeout`. May be dropped at any time. Runs on a tokio runtime
    /// with I/O and time enabled.
    pub async fn authenticate(&self, context: AuthContext<'_>) -> AuthDecision {
        if !self.is_token_user(context.user) {
            return AuthDecision::Skip;
        }
        let decided = match self.decide(&context).await {
            Ok(grant) => self.complete(grant, &context).await,
            Err(reason) => Err(reason),
        };
        match decided {
            Ok(grant) => AuthDecision::Allow(Box::new(grant)),
            Err(reason) => AuthDecision::Deny(reason),
        }
    }

    /// Asks for the groups, where somebody wants to know them and the token does not say.
    async fn complete(&self, mut grant: AuthGrant, context: &AuthContext<'_>) -> Result<AuthGrant, DenyReason> {
        if grant.groups.is_none()
            && let Some(issuer) = self.config.issuer_named(grant.issuer.as_deref())
            && let Some(userinfo) = &self.userinfo[issuer]
        {
            grant.groups = Some(userinfo.groups(context.credential, &grant.subject).await?);
        }
        Ok(grant)
    }

    /// How the cache of verified tokens does, for metrics. All zero when it is off.
    pub fn cache_stats(&self) -> CacheStats {
        self.cache.as_ref().map(TokenCache::stats).unwrap_or_default()
    }

    /// The signature comes before any claim is believed: the reason in the audit log is then true, and what it names was
    /// said by the issuer.
    ///
    /// Nothing is awaited between the last look into the cache and the new entry, so logins with one new token verify it
    /// at most once on each thread.
    async fn decide(&self, context: &AuthContext<'_>) -> Result<AuthGrant, DenyReason> {
        let credential = context.credential.expose();
        token::check_size(credential, self.config.max_token_size)?;
        let place = self.cache.as_ref().and_then(|cache| cache.place(credential));
        if let Some(decision) = self.decide_known(place.as_ref(), context) {
            return decision;
        }
        let token = Token::parse(credential, self.config.max_token_size)?;
        let (issuer, keys) = self.issuer_of(&token)?;
        let algorithm = algorithm_of(&token, &self.config.issuers[issuer])?;
        required::check_type(token.typ.as_deref(), &self.config.issuers[issuer].token_types)?;
        let waited = keys.prepare(&token, algorithm).await?;
        if waited && let Some(decision) = self.decide_known(place.as_ref(), context) {
            return decision;
        }
        if let Some(place) = &place {
            place.count_miss();
        }
        let key_set = keys.verify(&token, algorithm)?;
        let verified = Verified { claims: token.claims, issuer, key_set };
        let grant = self.grant(&verified, context)?;
        if let Some(place) = place {
            place.keep(verified, grant.expires_at.checked_add(self.config.issuers[issuer].leeway));
        }
        Ok(grant)
    }

    /// The decision for a token that was verified before, if that still counts: the set of keys in use must be the one
    /// that it was verified by.
    fn decide_known(
        &self,
        place: Option<&Place<'_>>,
        context: &AuthContext<'_>,
    ) -> Option<Result<AuthGrant, DenyReason>> {
        let place = place?;
        let verified = place.find(|verified| self.keys[verified.issuer].in_use() == Some(verified.key_set))?;
        let decision = self.grant(&verified, context);
        if matches!(decision, Err(DenyReason::Expired)) {
            place.forget();
        }
        Some(decision)
    }

    /// All that depends on the moment and on who asks: never remembered.
    fn grant(&self, verified: &Verified, context: &AuthContext<'_>) -> Result<AuthGrant, DenyReason> {
        let issuer = &self.config.issuers[verified.issuer];
        let expires_at = policy::check(&verified.claims, issuer, SystemTime::now())?;
        let (user, database) = (context.user, context.database);
        let mut grant = identity::grant(user, database, &verified.claims, issuer, expires_at, &self.config)?;
        if grant.mode == IdentityMode::Passthrough {
            // A token that was verified is ASCII: this never fails.
            let token = std::str::from_utf8(context.credential.expose());
            grant.token = Some(Secret::new(token.map_err(|_| DenyReason::Malformed("it is not ASCII text"))?));
        }
        Ok(grant)
    }

    /// The one issuer, by its number, whose keys the token is checked with: the one that it names, else the one without a
    /// name. A token that names an issuer is never tried with another's keys.
    fn issuer_of(&self, token: &Token<'_>) -> Result<(usize, &Keys), DenyReason> {
        let named = claims::optional_string(&token.claims, "iss")?;
        let issuer = self.config.issuer_named(named).ok_or(DenyReason::WrongIssuer)?;
        Ok((issuer, &self.keys[issuer]))
    }
}

/// The token's algorithm, if the issuer may use it.
fn algorithm_of(token: &Token<'_>, issuer: &Issuer) -> Result<Algorithm, DenyReason> {
    Algorithm::from_name(&token.algorithm)
        .filter(|algorithm| issuer.algorithms.contains(algorithm))
        .ok_or(DenyReason::AlgorithmNotAllowed)
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator")
            .field("config", &self.config)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}
