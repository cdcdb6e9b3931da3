//! The walk of one login through the core, and the value that a host keeps for it.

mod explain;
mod introspected;
mod steps;
pub(crate) mod turn;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;

use crate::cache::{CacheStats, Place, TokenCache, Verified};
use crate::claims::{self, Claims};
use crate::config::{self, Algorithm, ConfigError, Fault, IdentityMode, Issuer, JwtConfig, Problem, Secret, Spot};
use crate::decision::{AuthContext, AuthDecision, AuthGrant, Credential};
use crate::deny::DenyReason;
use crate::identity;
use crate::introspection::{self, Introspection};
use crate::keys::Keys;
use crate::policy::{self, kind};
use crate::revocation::{Revocations, TokenIdentity};
use crate::status::IssuerStatus;
use crate::token::{self, Token};
use crate::userinfo::{self, Userinfo};

use turn::Flights;

pub use explain::Explanation;
pub use steps::{Check, Step};

/// Decides logins. Make one, share it by reference or in an `Arc` with every task on every tokio runtime of the process.
///
/// Dropping it ends what it does in the background: watching key files and refreshing key sets.
pub struct Authenticator {
    config: JwtConfig,
    /// As many, and in the order of, `config.issuers`.
    keys: Vec<Keys>,
    /// As many. Who is asked for groups that a token does not name.
    userinfo: Vec<Option<Arc<Userinfo>>>,
    /// As many. Who is asked about tokens that are no JWTs.
    introspection: Vec<Option<Introspection>>,
    revocations: Arc<Revocations>,
    /// What was verified already; `None` when the configuration wants no cache.
    cache: Option<TokenCache>,
    /// Tokens that are being checked.
    flights: Flights,
}

/// What belongs to each issuer, as far as it can be opened; what cannot be is a problem.
fn opened<T>(config: &JwtConfig, problems: &mut Vec<Problem>, open: impl Fn(&Issuer) -> Result<T, Fault>) -> Vec<T> {
    let keep = |issuer| open(issuer).map_err(|fault| problems.push(fault.into())).ok();
    config.issuers.iter().filter_map(keep).collect()
}

impl Authenticator {
    /// Checks the configuration and reads key files. No issuer is asked: one that is down must not keep a gateway from
    /// starting. Needs no runtime.
    ///
    /// # Errors
    /// A setting that cannot work, or a key file that cannot be read, by name.
    pub fn new(config: JwtConfig) -> Result<Self, ConfigError> {
        Self::build(config, None)
    }

    /// An authenticator for a changed configuration. Key sets whose source has not changed are kept, or taken over where
    /// only its limits have, so that a reload neither asks the issuer nor forgets its keys; key files and the revocation
    /// file are read again. No revocation is forgotten. No verified token is remembered.
    ///
    /// # Errors
    /// As [`new`](Self::new). `self` stays as it is.
    pub fn reconfigured(&self, config: JwtConfig) -> Result<Self, ConfigError> {
        Self::build(config, Some(self))
    }

    fn build(config: JwtConfig, previous: Option<&Self>) -> Result<Self, ConfigError> {
        let known_keys = previous.map_or(&[][..], |previous| &previous.keys);
        let known = previous.map_or(&[][..], |previous| &previous.userinfo);
        let known_introspection = previous.map_or(&[][..], |previous| &previous.introspection);
        let found = config::findings(&config);
        if !found.is_empty() {
            let problem = |finding: config::Finding| Problem { spot: Spot::none(), reason: finding.fault.to_string() };
            return Err(ConfigError { problems: found.into_iter().map(problem).collect() });
        }
        let mut problems: Vec<Problem> = Vec::new();
        let keys = opened(&config, &mut problems, |issuer| Keys::open(issuer, known_keys));
        let userinfo = opened(&config, &mut problems, |issuer| userinfo::open(issuer, known));
        let introspection = opened(&config, &mut problems, |issuer| introspection::open(issuer, known_introspection));
        let revocations = Revocations::open(&config, previous.map(|previous| &previous.revocations));
        let revocations = revocations.map_err(|fault| problems.push(fault.into())).ok();
        let Some(revocations) = revocations.filter(|_| problems.is_empty()) else {
            // Two issuers may have one file.
            problems.dedup();
            return Err(ConfigError { problems });
        };
        let cache = TokenCache::new(config.token_cache_size)?;
        let flights = Flights::new();
        Ok(Self { config, keys, userinfo, introspection, revocations, cache, flights })
    }

    /// Whether this is the configuration that it goes by, so that there is nothing to be made anew: for a host that reads its
    /// configuration often. Key files and the revocation file are looked after anyway; [`reconfigured`](Self::reconfigured) also
    /// reads again what is read once, such as authorities and the keys of clients.
    pub fn is_configured_as(&self, config: &JwtConfig) -> bool {
        self.config == *config
    }

    /// Whether a start-up user logs in with a token, so that a host knows which credential to ask for.
    pub fn is_token_user(&self, user: &str) -> bool {
        identity::is_token_user(user, &self.config)
    }

    /// Fetches the key sets that nobody keeps fresh yet, all at the same time, and returns when that has succeeded, failed or
    /// timed out. Optional: a host that calls it when it starts, and after a change of its configuration, spares the next
    /// client the wait.
    pub async fn warm(&self) {
        Keys::warm(&self.keys).await;
    }

    /// What is revoked. Logins are checked against it here; the host ends the sessions that are there when it changes.
    pub fn revocations(&self) -> &Arc<Revocations> {
        &self.revocations
    }

    /// How long, from now on, a token that exists may still be good, by the greatest age that its issuer's entry allows;
    /// `None`: for how long is not known. `issuer` is the value of `iss`; `None`: whoever issued it.
    pub fn longest_life(&self, issuer: Option<&str>) -> Option<Duration> {
        let leeway = |issuer: &Issuer| issuer.leeway.saturating_add(issuer.earliness());
        let longest = |issuer: &Issuer| Some(issuer.max_token_age?.saturating_add(leeway(issuer)));
        match issuer {
            Some(_) => longest(&self.config.issuers[self.config.issuer_named(issuer)?]),
            None => {
                self.config.issuers.iter().map(longest).try_fold(Duration::ZERO, |most, life| Some(most.max(life?)))
            }
        }
    }

    /// How the keys of each issuer are, in the order of the configuration.
    pub fn status(&self) -> Vec<IssuerStatus> {
        self.config.issuers.iter().zip(&self.keys).map(|(issuer, keys)| keys.status(issuer)).collect()
    }

    /// Decides one login. Waits only when the token needs a key that is not known, is one that the issuer is asked about, or
    /// leaves its groups to the userinfo endpoint, and for each no longer than the source's `timeout`; and for its turn to be
    /// checked. May be dropped at any time. Runs on a tokio runtime with I/O and time enabled.
    pub async fn authenticate(&self, context: AuthContext<'_>) -> AuthDecision {
        if !self.is_token_user(context.user) {
            return AuthDecision::Skip;
        }
        let decided = match self.decide(&context).await {
            Ok(grant) => match self.confirm(grant, &context).await {
                Ok(grant) => self.complete(grant, &context).await,
                Err(reason) => Err(reason),
            },
            Err(reason) => Err(reason),
        };
        match decided {
            Ok(grant) => AuthDecision::Allow(Box::new(with_fingerprint(grant, context.credential))),
            Err(reason) => AuthDecision::Deny(reason),
        }
    }

    /// Asks for the groups, where somebody wants to know them and the token does not say.
    async fn complete(&self, mut grant: AuthGrant, context: &AuthContext<'_>) -> Result<AuthGrant, DenyReason> {
        if grant.groups.is_none()
            && let Some(issuer) = self.config.issuer_named(grant.issuer.as_deref())
            && let Some(userinfo) = &self.userinfo[issuer]
        {
            grant.groups = Some(Box::pin(userinfo.groups(context.credential, &grant.subject)).await?);
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
    /// Logins with one new token go one behind the other, and look into the cache once more when it is their turn: it is
    /// checked once.
    async fn decide(&self, context: &AuthContext<'_>) -> Result<AuthGrant, DenyReason> {
        let credential = context.credential.expose();
        token::check_size(credential, self.config.max_token_size)?;
        if let Some(issuer) = self.reader_of(context) {
            return Box::pin(self.decide_unread(issuer, context)).await;
        }
        let place = self.cache.as_ref().and_then(|cache| cache.place(credential));
        if let Some(decision) = self.decide_known(place.as_ref(), context) {
            return decision;
        }
        let token = Token::parse(credential, self.config.max_token_size)?;
        let (issuer, keys) = self.issuer_of(&token)?;
        let algorithm = algorithm_of(&token, &self.config.issuers[issuer])?;
        kind::check_type(token.typ.as_deref(), &self.config.issuers[issuer])?;
        keys.prepare(&token, algorithm, context.client_addr).await?;
        let _alone = match &place {
            Some(place) => Some(self.flights.board(place.number()).await),
            None => None,
        };
        let _turn = turn::take().await;
        if let Some(decision) = self.decide_known(place.as_ref(), context) {
            return decision;
        }
        if let Some(place) = &place {
            place.count_miss();
        }
        let key_set = keys.verify(&token, algorithm)?;
        let verified = Verified { claims: token.claims, issuer, key_set };
        let grant = self.grant(&verified.claims, issuer, context)?;
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
        let decision = self.grant(&verified.claims, verified.issuer, context);
        if matches!(decision, Err(DenyReason::Expired)) {
            place.forget();
        }
        Some(decision)
    }

    /// All that depends on the moment and on who asks: never remembered.
    fn grant(&self, claims: &Claims, issuer: usize, context: &AuthContext<'_>) -> Result<AuthGrant, DenyReason> {
        let issuer = &self.config.issuers[issuer];
        let expires_at = policy::check(claims, issuer, SystemTime::now())?;
        self.check_revoked(claims, issuer)?;
        let (user, database) = (context.user, context.database);
        let mut grant = identity::grant(user, database, claims, issuer, expires_at, &self.config)?;
        if grant.mode == IdentityMode::Passthrough {
            // A token that was verified is ASCII: this never fails.
            let token = std::str::from_utf8(context.credential.expose());
            grant.token = Some(Secret::new(token.map_err(|_| DenyReason::Malformed("it is not ASCII text"))?));
        }
        Ok(grant)
    }

    /// Whether the token was taken back. Asked before who the bearer is: of a token that is no good, nothing else matters.
    fn check_revoked(&self, claims: &Claims, issuer: &Issuer) -> Result<(), DenyReason> {
        if self.revocations.is_empty() {
            return Ok(());
        }
        let subject = claims::optional_string(claims, "sub")?.filter(|subject| !subject.is_empty());
        let subject = match subject {
            Some(subject) => Cow::Borrowed(subject),
            None => identity::user::of(claims, issuer, &self.config)?.name,
        };
        self.revocations.check(&TokenIdentity {
            issuer: claims::optional_string(claims, "iss")?,
            subject: &subject,
            token_id: claims.get("jti").and_then(|id| id.as_str()),
            issued_at: claims::moment(claims, "iat")?,
        })
    }

    /// The one issuer, by its number, whose keys the token is checked with: the one that it names, else the one without a
    /// name. A token that names an issuer is never tried with another's keys.
    fn issuer_of(&self, token: &Token<'_>) -> Result<(usize, &Keys), DenyReason> {
        let named = claims::optional_string(&token.claims, "iss")?;
        let issuer = self.config.issuer_named(named).ok_or(DenyReason::WrongIssuer)?;
        Ok((issuer, &self.keys[issuer]))
    }
}

/// What stands for a token that its issuer gave no name of its own.
fn with_fingerprint(grant: AuthGrant, credential: Credential<'_>) -> AuthGrant {
    if grant.token_id.as_deref().is_some_and(|id| !id.is_empty()) {
        return grant;
    }
    let digest = digest::digest(&digest::SHA256, credential.expose());
    AuthGrant { fingerprint: digest.as_ref().try_into().ok(), ..grant }
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
