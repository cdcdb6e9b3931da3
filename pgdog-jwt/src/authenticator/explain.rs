//! The checks of a login one by one, for people who want to know why it goes as it does. The decision is that of
//! [`Authenticator::authenticate`]; the steps take the same functions in the same order, up to the first that says no or,
//! in an examination, as far as there is something to look at.

use std::time::{SystemTime, UNIX_EPOCH};

use super::steps::{Check, Step, Steps};
use super::{Authenticator, algorithm_of};
use crate::claim_policy::{self, Says};
use crate::claims::{self, Claims};
use crate::config::{ChosenMapping, IdentityMode, Issuer, UserMatch};
use crate::decision::{AuthContext, AuthDecision, Credential, Groups};
use crate::deny::DenyReason;
use crate::groups;
use crate::identity::{self, account, user};
use crate::keys::Keys;
use crate::policy::{self, kind, required};
use crate::session;
use crate::token::{self, Token};

/// How a login goes.
#[derive(Debug)]
pub struct Explanation {
    /// The checks in their order. Only the last can have failed, but in an examination any of them. Empty for a user who
    /// does not log in by token.
    pub steps: Vec<Step>,
    /// The answer of [`Authenticator::authenticate`].
    pub decision: AuthDecision,
}

impl Authenticator {
    /// Decides one login as [`authenticate`](Self::authenticate) does, and says how it came to that. For the tools of an
    /// operator: clients must not hear it (S6).
    pub async fn explain(&self, context: AuthContext<'_>) -> Explanation {
        self.explain_by(context, false).await
    }

    /// The same, with all that is wrong and not only what is wrong first. What the steps say of claims when the signature
    /// is not good was said by nobody in particular.
    pub async fn examine(&self, context: AuthContext<'_>) -> Explanation {
        self.explain_by(context, true).await
    }

    async fn explain_by(&self, context: AuthContext<'_>, thorough: bool) -> Explanation {
        let decision = self.authenticate(context).await;
        let mut steps = Steps::new(thorough);
        if !matches!(decision, AuthDecision::Skip) {
            // What it found is in the steps.
            let _ = self.walk(&context, &mut steps).await;
        }
        Explanation { steps: steps.taken, decision }
    }

    /// The name with which the bearer of a token would log in, as far as the token itself says. **Not verified**: no
    /// decision may rest on it.
    pub fn claimed_user(&self, credential: Credential<'_>) -> Option<String> {
        let token = Token::parse(credential.expose(), self.config.max_token_size).ok()?;
        let (issuer, _) = self.issuer_of(&token).ok()?;
        let mut name = user::of(&token.claims, &self.config.issuers[issuer], &self.config).ok()?.name.into_owned();
        let suffix = self.config.issuers[issuer].user_suffix.as_deref();
        if let Some(suffix) = suffix.filter(|suffix| !name.ends_with(suffix)) {
            name.push_str(suffix);
        }
        Some(name)
    }

    async fn walk(&self, context: &AuthContext<'_>, steps: &mut Steps) -> Option<()> {
        let credential = context.credential.expose();
        if let Some(issuer) = self.reader_of(context) {
            return self.walk_unread(issuer, context, steps).await;
        }
        let parsed = Token::parse(credential, self.config.max_token_size);
        let token = steps.add(Check::Form, parsed, |_| format!("{} bytes in three parts", credential.len()))?;
        let number = self.verified_by(&token, steps).await?;
        self.judged(&token.claims, number, context, steps)?;
        // Nobody is asked about a token that this service refuses. Without a grant, the groups are what it fails for.
        if !steps.has_failed()
            && let Ok(grant) = self.grant(&token.claims, number, context)
            && let Some(asked) = self.confirms(&grant, context)
        {
            let confirmed = self.confirmed(asked, &grant, context.credential).await.map(drop);
            steps.check(Check::Introspection, confirmed, || "the issuer stands by the token".to_owned())?;
        }
        self.grouped(&token.claims, number, context, steps).await
    }

    /// A token that only its issuer can read.
    async fn walk_unread(&self, number: usize, context: &AuthContext<'_>, steps: &mut Steps) -> Option<()> {
        let credential = context.credential.expose();
        let formed =
            token::check_size(credential, self.config.max_token_size).and_then(|()| token::check_bearer(credential));
        steps.add(Check::Form, formed, |()| format!("{} bytes that the issuer can read", credential.len()))?;
        let said = self.said_of(number, context.credential).await;
        let claims = steps.add(Check::Introspection, said, |_| "active, says the issuer".to_owned())?;
        let issuer = &self.config.issuers[number];
        let named = || issuer.issuer.clone().unwrap_or_else(|| "any".to_owned());
        steps.check(Check::Issuer, policy::check_issuer(&claims, issuer), named)?;
        self.judged(&claims, number, context, steps)?;
        self.grouped(&claims, number, context, steps).await
    }

    /// The claims, once it is certain that they are the issuer's.
    fn judged(&self, claims: &Claims, number: usize, context: &AuthContext<'_>, steps: &mut Steps) -> Option<()> {
        let issuer = &self.config.issuers[number];
        let of_kind = kind::check_claims(claims, issuer);
        steps.check(Check::Kind, of_kind, || match kind::is_bound(claims) {
            true => "an access token, bound to a key that nobody asks for".to_owned(),
            false => "nothing against an access token".to_owned(),
        })?;
        let for_us = policy::check_audience(claims, &issuer.audiences);
        steps.check(Check::Audience, for_us, || match issuer.audiences.is_empty() {
            true => "any".to_owned(),
            false => format!("one of {}", issuer.audiences.join(", ")),
        })?;
        timed(claims, issuer, steps)?;
        wanted(claims, issuer, steps)?;
        let revoked = self.check_revoked(claims, issuer);
        steps.check(Check::Revocation, revoked, || match self.revocations.len() {
            0 => "nothing is revoked".to_owned(),
            entries => format!("by none of {entries}"),
        })?;
        self.identified(claims, issuer, context, steps)
    }

    /// The issuer that vouches for the token.
    async fn verified_by(&self, token: &Token<'_>, steps: &mut Steps) -> Option<usize> {
        let known = steps.add(Check::Issuer, self.issuer_of(token), |(number, _)| {
            self.config.issuers[*number].issuer.clone().unwrap_or_else(|| "any".to_owned())
        });
        let (number, keys) = match (known, self.keys.as_slice()) {
            (Some(known), _) => known,
            // Nobody else can have signed it.
            (None, [only]) => steps.after_failure().map(|()| (0, only))?,
            (None, _) => return None,
        };
        if self.signed(token, &self.config.issuers[number], keys, steps).await.is_none() {
            steps.after_failure()?;
        }
        Some(number)
    }

    /// Whether a key of the issuer made the signature.
    async fn signed(&self, token: &Token<'_>, issuer: &Issuer, keys: &Keys, steps: &mut Steps) -> Option<()> {
        let algorithm = algorithm_of(token, issuer);
        let algorithm = steps.add(Check::Algorithm, algorithm, |algorithm| algorithm.name().to_owned())?;
        let token_type = kind::check_type(token.typ.as_deref(), issuer);
        steps.check(Check::TokenType, token_type, || token.typ.clone().unwrap_or_else(|| "none".to_owned()))?;
        let verified = match keys.prepare(token, algorithm, None).await {
            Ok(_) => keys.verify(token, algorithm),
            Err(reason) => Err(reason),
        };
        let (key, signature) = match verified {
            Ok(_) => (Ok(()), Ok(())),
            Err(DenyReason::BadSignature) => (Ok(()), Err(DenyReason::BadSignature)),
            Err(reason) => (Err(reason.clone()), Err(reason)),
        };
        steps.add(Check::Key, key, |()| token.kid.clone().unwrap_or_else(|| "the token names none".to_owned()))?;
        steps.add(Check::Signature, signature, |()| "by this key".to_owned())
    }

    /// Who the bearer is, and as what it comes.
    fn identified(&self, claims: &Claims, issuer: &Issuer, context: &AuthContext<'_>, steps: &mut Steps) -> Option<()> {
        let config = &self.config;
        let named = user::of(claims, issuer, config);
        let named = steps.add(Check::User, named, |named| match named.rule {
            Some(rule) => format!("{}, by user mapping {}", named.name, rule + 1),
            None => format!("{}, by claim \"{}\"", named.name, issuer.username_claim),
        });
        if named.is_none() {
            steps.after_failure()?;
        }
        let name = named.as_ref().map(|named| &*named.name);
        let mode = config.mode_of(issuer, named.as_ref().and_then(|named| named.rule));
        if let Some(name) = name {
            let same = identity::check_user(context.user, name, issuer, config);
            steps.check(Check::UserName, same, || match config.user_match {
                UserMatch::Exact => format!("{} may come with this token", context.user),
                UserMatch::Claim => "the token decides, not the name".to_owned(),
            })?;
        }
        let opens = identity::check_database(context.database, issuer);
        steps.check(Check::Database, opens, || context.database.to_owned())?;
        let says = claim_policy::read(&config.claims, claims, context.database);
        let says = steps.add(Check::Claims, says, allowed);
        if says.is_none() {
            steps.after_failure()?;
        }
        let is_account = mode == IdentityMode::ServiceAccount;
        let account = match is_account {
            true => self.account(claims, context, steps),
            false => None,
        };
        if is_account && account.is_none() {
            steps.after_failure()?;
        }
        if let Some(name) = name
            && account.is_some() == is_account
        {
            let says = says.unwrap_or_default();
            let fit = identity::check_names(name, &says, account.as_ref(), issuer, config);
            steps.check(Check::Role, fit, || match (&says.role, is_account) {
                (_, true) => "the account's".to_owned(),
                (Some(role), false) => format!("{role}, by permission level"),
                (None, false) => name.to_owned(),
            })?;
        }
        let subject = claims::optional_string(claims, "sub").map(|subject| subject.filter(|text| !text.is_empty()));
        let shown = subject.as_ref().ok().and_then(|subject| *subject).or(name).unwrap_or_default().to_owned();
        steps.check(Check::Subject, subject.map(drop), || shown)?;
        if let Some(id) = claims::optional_string(claims, "jti").transpose() {
            let shown = id.as_ref().map_or("", |id| id).to_owned();
            steps.check(Check::TokenId, id.map(drop), || shown)?;
        }
        self.variables(claims, steps)
    }

    fn account(&self, claims: &Claims, context: &AuthContext<'_>, steps: &mut Steps) -> Option<ChosenMapping> {
        let chosen = account::choose(claims, context.database, &self.config);
        steps.add(Check::Account, chosen, |chosen| {
            let rule = chosen.rule();
            format!("rule {} leads to the account {}", rule.name, rule.server_user)
        })
    }

    fn variables(&self, claims: &Claims, steps: &mut Steps) -> Option<()> {
        let variables = &self.config.variables;
        match session::evaluate(variables, claims) {
            Ok(values) => values
                .into_iter()
                .try_for_each(|(name, value)| steps.check(Check::Variable, Ok(()), || format!("{name} = {value}"))),
            Err(_) if steps.after_failure().is_some() => {
                let alone = |variable| session::evaluate(std::slice::from_ref(variable), claims).err();
                variables
                    .iter()
                    .filter_map(alone)
                    .try_for_each(|reason| steps.check(Check::Variable, Err(reason), String::new))
            }
            Err(reason) => steps.check(Check::Variable, Err(reason), String::new),
        }
    }

    /// The groups that the bearer is in.
    async fn grouped(
        &self,
        claims: &Claims,
        number: usize,
        context: &AuthContext<'_>,
        steps: &mut Steps,
    ) -> Option<()> {
        let issuer = &self.config.issuers[number];
        if issuer.groups.is_none() {
            return Some(());
        }
        let groups = match groups::said(claims, issuer.groups.as_ref()) {
            // Nobody else is shown a token that this service refuses.
            Ok(None) if steps.has_failed() => return steps.after_failure(),
            Ok(None) => self.asked(claims, number, context).await,
            said => said,
        };
        let groups = steps.add(Check::Groups, groups, |groups| match groups {
            Some(groups) if !groups.names.is_empty() => groups.names.join(", "),
            _ => "none".to_owned(),
        });
        groups.map(drop)
    }

    /// What the userinfo endpoint says of them.
    async fn asked(
        &self,
        claims: &Claims,
        issuer: usize,
        context: &AuthContext<'_>,
    ) -> Result<Option<Groups>, DenyReason> {
        let named = user::of(claims, &self.config.issuers[issuer], &self.config)?;
        let subject = claims::optional_string(claims, "sub")?.filter(|subject| !subject.is_empty());
        match &self.userinfo[issuer] {
            Some(userinfo) => userinfo.groups(context.credential, subject.unwrap_or(&named.name)).await.map(Some),
            None => Ok(None),
        }
    }
}

/// `exp`, `nbf` and `iat`.
fn timed(claims: &Claims, issuer: &Issuer, steps: &mut Steps) -> Option<()> {
    let now = SystemTime::now();
    match policy::check_times(claims, issuer, now) {
        Ok(expiry) => steps.check(Check::Times, Ok(()), || until(expiry)),
        Err(_) => policy::wrong_times(claims, issuer, now)
            .try_for_each(|reason| steps.check(Check::Times, Err(reason), String::new)),
    }
}

/// What the issuer's entry asks for besides.
fn wanted(claims: &Claims, issuer: &Issuer, steps: &mut Steps) -> Option<()> {
    let any_or = |list: &[String]| if list.is_empty() { "any".to_owned() } else { list.join(", ") };
    let client = required::check_client(claims, &issuer.clients);
    steps.check(Check::Client, client, || any_or(&issuer.clients))?;
    let scopes = required::check_scopes(claims, &issuer.required_scopes);
    steps.check(Check::Scopes, scopes, || any_or(&issuer.required_scopes))?;
    let names = || issuer.required_claims.iter().map(|required| required.claim.clone()).collect::<Vec<_>>();
    let required = required::check_claims(claims, &issuer.required_claims);
    steps.check(Check::RequiredClaims, required, || any_or(&names()))
}

fn allowed(says: &Says) -> String {
    let mut parts = vec![if says.read_only { "read-only".to_owned() } else { "nothing against writing".to_owned() }];
    parts.extend(says.role.as_ref().map(|role| format!("role {role}")));
    parts.extend(says.pool_mode.as_ref().map(|mode| format!("{mode} mode")));
    parts.extend(says.max_connections.map(|most| format!("up to {most} sessions")));
    parts.join(", ")
}

fn until(expiry: SystemTime) -> String {
    let left = |moment: SystemTime| moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match left(expiry).checked_sub(left(SystemTime::now())) {
        Some(seconds) => format!("expires in {seconds} s"),
        None => "expired, within the leeway".to_owned(),
    }
}
