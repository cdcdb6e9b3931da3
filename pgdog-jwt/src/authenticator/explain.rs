//! The checks of a login one by one, for people who want to know why it goes as it does. The decision is that of
//! [`Authenticator::authenticate`]; the steps take the same functions in the same order up to the first that says no.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{Authenticator, algorithm_of};
use crate::claim_policy::{self, Says};
use crate::claims;
use crate::config::{IdentityMode, Issuer, UserMatch};
use crate::decision::{AuthContext, AuthDecision, Credential, Groups};
use crate::deny::DenyReason;
use crate::groups;
use crate::identity::{self, account, user};
use crate::policy::{self, required};
use crate::session;
use crate::token::Token;

/// What a step looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Check {
    /// Whether the credential is a token.
    Form,
    /// Whether the issuer is known.
    Issuer,
    /// Whether the issuer may use the algorithm.
    Algorithm,
    /// Whether the issuer's tokens are of this type.
    TokenType,
    /// Whether the issuer has the key.
    Key,
    /// Whether the key made the signature.
    Signature,
    /// Whether the token is for this service.
    Audience,
    /// `exp`, `nbf` and `iat`.
    Times,
    /// To whom it was issued.
    Client,
    /// What it is good for.
    Scopes,
    /// Further claims that its issuer's entry wants.
    RequiredClaims,
    /// Who the token is for, by a claim or a user mapping.
    User,
    /// Whether that is the user whose name was typed.
    UserName,
    /// Whether its issuer's tokens open the database.
    Database,
    /// Claims that say what the session may do.
    Claims,
    /// The role mapping, where tokens lead to accounts.
    Account,
    /// Whether the role may be had, and is not on the deny list.
    Role,
    /// `sub`.
    Subject,
    /// One session variable; those that do not work out end the login.
    Variable,
    /// The groups, where somebody wants to know them.
    Groups,
}

impl Check {
    /// Two or three words for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Form => "token",
            Self::Issuer => "issuer",
            Self::Algorithm => "algorithm",
            Self::TokenType => "token type",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Audience => "audience",
            Self::Times => "times",
            Self::Client => "client",
            Self::Scopes => "scopes",
            Self::RequiredClaims => "required claims",
            Self::User => "user",
            Self::UserName => "user name",
            Self::Database => "database",
            Self::Claims => "claims policy",
            Self::Account => "role mapping",
            Self::Role => "role",
            Self::Subject => "subject",
            Self::Variable => "variable",
            Self::Groups => "groups",
        }
    }
}

/// One check and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What was looked at.
    pub check: Check,
    /// What was found. It repeats what the token says, to be made printable before it is shown.
    pub outcome: Result<String, DenyReason>,
}

/// How a login goes.
#[derive(Debug)]
pub struct Explanation {
    /// The checks in their order. Only the last can have failed. Empty for a user who does not log in by token.
    pub steps: Vec<Step>,
    /// The answer of [`Authenticator::authenticate`].
    pub decision: AuthDecision,
}

struct Steps(Vec<Step>);

impl Steps {
    /// Adds a step. `None`: it is the last.
    fn add<T>(&mut self, check: Check, outcome: Result<T, DenyReason>, found: impl FnOnce(&T) -> String) -> Option<T> {
        let step = |outcome| Step { check, outcome };
        match outcome {
            Ok(value) => {
                self.0.push(step(Ok(found(&value))));
                Some(value)
            }
            Err(reason) => {
                self.0.push(step(Err(reason)));
                None
            }
        }
    }
}

impl Authenticator {
    /// Decides one login as [`authenticate`](Self::authenticate) does, and says how it came to that. For the tools of an
    /// operator: clients must not hear it (S6).
    pub async fn explain(&self, context: AuthContext<'_>) -> Explanation {
        let decision = self.authenticate(context).await;
        let mut steps = Steps(Vec::new());
        if !matches!(decision, AuthDecision::Skip) {
            // What it found is in the steps.
            let _ = self.walk(&context, &mut steps).await;
        }
        Explanation { steps: steps.0, decision }
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
        let parsed = Token::parse(credential, self.config.max_token_size);
        let token = steps.add(Check::Form, parsed, |_| format!("{} bytes in three parts", credential.len()))?;
        let issuer = self.verified_by(&token, steps).await?;
        let claims = &token.claims;
        let for_us =
            policy::check_issuer(claims, issuer).and_then(|()| policy::check_audience(claims, &issuer.audiences));
        steps.add(Check::Audience, for_us, |()| match issuer.audiences.is_empty() {
            true => "any".to_owned(),
            false => format!("one of {}", issuer.audiences.join(", ")),
        })?;
        let times = policy::check_times(claims, issuer, SystemTime::now());
        steps.add(Check::Times, times, |expiry| until(*expiry))?;
        let any_or = |list: &[String]| if list.is_empty() { "any".to_owned() } else { list.join(", ") };
        let client = required::check_client(claims, &issuer.clients);
        steps.add(Check::Client, client, |()| any_or(&issuer.clients))?;
        let scopes = required::check_scopes(claims, &issuer.required_scopes);
        steps.add(Check::Scopes, scopes, |()| any_or(&issuer.required_scopes))?;
        let wanted: Vec<String> = issuer.required_claims.iter().map(|required| required.claim.clone()).collect();
        let required = required::check_claims(claims, &issuer.required_claims);
        steps.add(Check::RequiredClaims, required, |()| any_or(&wanted))?;
        self.identified(&token, issuer, context, steps)?;
        self.grouped(&token, issuer, context, steps).await
    }

    /// The issuer that vouches for the token.
    async fn verified_by(&self, token: &Token<'_>, steps: &mut Steps) -> Option<&Issuer> {
        let known = self.issuer_of(token);
        let (issuer, keys) = steps.add(Check::Issuer, known, |(number, _)| {
            self.config.issuers[*number].issuer.clone().unwrap_or_else(|| "any".to_owned())
        })?;
        let issuer = &self.config.issuers[issuer];
        let algorithm = algorithm_of(token, issuer);
        let algorithm = steps.add(Check::Algorithm, algorithm, |algorithm| algorithm.name().to_owned())?;
        let token_type = required::check_type(token.typ.as_deref(), &issuer.token_types);
        steps.add(Check::TokenType, token_type, |()| token.typ.clone().unwrap_or_else(|| "none".to_owned()))?;
        let verified = match keys.prepare(token, algorithm).await {
            Ok(_) => keys.verify(token, algorithm),
            Err(reason) => Err(reason),
        };
        let (key, signature) = match verified {
            Ok(_) => (Ok(()), Ok(())),
            Err(DenyReason::BadSignature) => (Ok(()), Err(DenyReason::BadSignature)),
            Err(reason) => (Err(reason.clone()), Err(reason)),
        };
        steps.add(Check::Key, key, |()| token.kid.clone().unwrap_or_else(|| "the token names none".to_owned()))?;
        steps.add(Check::Signature, signature, |()| "by this key".to_owned())?;
        Some(issuer)
    }

    /// Who the bearer is, and as what it comes.
    fn identified(
        &self,
        token: &Token<'_>,
        issuer: &Issuer,
        context: &AuthContext<'_>,
        steps: &mut Steps,
    ) -> Option<()> {
        let (config, claims) = (&self.config, &token.claims);
        let named = user::of(claims, issuer, config);
        let named = steps.add(Check::User, named, |named| match named.rule {
            Some(rule) => format!("{}, by user mapping {}", named.name, rule + 1),
            None => format!("{}, by claim \"{}\"", named.name, issuer.username_claim),
        })?;
        let mode = config.mode_of(issuer, named.rule);
        let same = identity::check_user(context.user, &named.name, issuer, config);
        steps.add(Check::UserName, same, |()| match config.user_match {
            UserMatch::Exact => format!("{} may come with this token", context.user),
            UserMatch::Claim => "the token decides, not the name".to_owned(),
        })?;
        let opens = identity::check_database(context.database, issuer);
        steps.add(Check::Database, opens, |()| context.database.to_owned())?;
        let says = claim_policy::read(&config.claims, claims, context.database);
        let says = steps.add(Check::Claims, says, allowed)?;
        let is_account = mode == IdentityMode::ServiceAccount;
        let mut account = None;
        if is_account {
            let chosen = account::choose(claims, context.database, config);
            account = steps.add(Check::Account, chosen, |chosen| {
                let rule = chosen.rule();
                format!("rule {} leads to the account {}", rule.name, rule.server_user)
            });
            account.as_ref()?;
        }
        let fit = identity::check_names(&named.name, &says, account.as_ref(), issuer, config);
        steps.add(Check::Role, fit, |()| match (&says.role, is_account) {
            (_, true) => "the account's".to_owned(),
            (Some(role), false) => format!("{role}, by permission level"),
            (None, false) => named.name.clone().into_owned(),
        })?;
        let subject = claims::optional_string(claims, "sub");
        steps.add(Check::Subject, subject, |subject| {
            subject.filter(|subject| !subject.is_empty()).unwrap_or(&named.name).to_owned()
        })?;
        match session::evaluate(&config.variables, claims) {
            Ok(values) => values
                .into_iter()
                .try_for_each(|(name, value)| steps.add(Check::Variable, Ok(()), |()| format!("{name} = {value}"))),
            Err(reason) => steps.add(Check::Variable, Err(reason), |()| String::new()),
        }
    }

    /// The groups that the bearer is in.
    async fn grouped(
        &self,
        token: &Token<'_>,
        issuer: &Issuer,
        context: &AuthContext<'_>,
        steps: &mut Steps,
    ) -> Option<()> {
        if issuer.groups.is_none() {
            return Some(());
        }
        let groups = match groups::said(&token.claims, issuer.groups.as_ref()) {
            Ok(None) => self.asked(token, context).await,
            said => said,
        };
        steps.add(Check::Groups, groups, |groups| match groups {
            Some(groups) if !groups.names.is_empty() => groups.names.join(", "),
            _ => "none".to_owned(),
        })?;
        Some(())
    }

    /// What the userinfo endpoint says of them.
    async fn asked(&self, token: &Token<'_>, context: &AuthContext<'_>) -> Result<Option<Groups>, DenyReason> {
        let (issuer, _) = self.issuer_of(token)?;
        let named = user::of(&token.claims, &self.config.issuers[issuer], &self.config)?;
        let subject = claims::optional_string(&token.claims, "sub")?.filter(|subject| !subject.is_empty());
        match &self.userinfo[issuer] {
            Some(userinfo) => userinfo.groups(context.credential, subject.unwrap_or(&named.name)).await.map(Some),
            None => Ok(None),
        }
    }
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
