//! Who a client is: by its token, or by its password.

use std::net::SocketAddr;

use pgdog_jwt::{AuthContext, AuthDecision, Credential};

use super::certificate;
use super::client_flow;
use super::grant::Who;
use super::login_limits;
use super::methods::{self, Candidates, Method, MethodError, Verdict};
use super::refused::{LIMITED, Refused, gone};
use super::tenant::Name;
use crate::app::state::Generation;
use crate::config::{AuthType, Config, General, Jwt, User};
use crate::net::read::Incoming;
use crate::wire::PgError;
use crate::wire::startup::Startup;

/// Finds out who the client is, by the method that is the user's.
pub(super) async fn identify(
    stream: &mut Incoming,
    startup: &Startup,
    name: Name<'_>,
    database: &str,
    generation: &Generation,
    address: Option<SocketAddr>,
) -> Result<Who, Refused> {
    let user = name.user;
    let config = &generation.config;
    let entry = config.user(user, database);
    match (&config.jwt, &generation.authenticator) {
        (Some(jwt), Some(authenticator)) if is_token_user(jwt, user, entry) => {
            by_token(stream, startup, (user, database), jwt, authenticator, &config.general, address).await
        }
        (Some(jwt), _) => by_password(stream, name, entry, jwt.password_auth_type, generation, address).await,
        (None, _) => by_password(stream, name, entry, config.general.auth_type, generation, address).await,
    }
}

/// The users that have an issuer's suffix; where an issuer has none, also all but those that users.toml gives a password.
pub(super) fn is_token_user(jwt: &Jwt, user: &str, entry: Option<&User>) -> bool {
    jwt.core.has_suffix(user) || (jwt.core.takes_any_user() && !entry.is_some_and(User::has_password))
}

async fn by_token(
    stream: &mut Incoming,
    startup: &Startup,
    (user, database): (&str, &str),
    jwt: &Jwt,
    authenticator: &pgdog_jwt::Authenticator,
    general: &General,
    address: Option<SocketAddr>,
) -> Result<Who, Refused> {
    let is_local = address.map_or_else(|| stream.get_ref().is_local(), |peer| peer.ip().is_loopback());
    if !stream.get_ref().is_tls() && !is_local && !jwt.allow_plaintext {
        // Said before the token is asked for, so that it is never sent.
        let error = PgError::fatal("28000", "a token is not accepted over an unencrypted connection")
            .hint("Connect with TLS (sslmode=require or stronger).");
        return Err(Refused::new("plaintext", error));
    }
    let credential = client_flow::ask(stream, startup, jwt, user).await?;
    let tls_identity = certificate::identity(stream.get_ref());
    let context = AuthContext {
        user,
        database,
        credential: Credential::new(credential.as_bytes()),
        client_addr: address.map(|peer| peer.ip()),
        tls: stream.get_ref().is_tls(),
        tls_identity: tls_identity.as_deref(),
    };
    let decision = match login_limits::check(general, address, user) {
        Ok(()) => Ok(authenticator.authenticate(context).await),
        Err(by) => Err(by),
    };
    let refused = match decision {
        Err(by) => Refused::credential(LIMITED, "28000", user).detail(by.name()),
        Ok(AuthDecision::Allow(grant)) => return Ok(Who::Token(grant.into())),
        Ok(AuthDecision::Deny(reason)) => Refused::credential(reason.code(), "28000", user).detail(reason.to_string()),
        // The suffix was checked before; should the two ever differ, nobody gets in.
        Ok(AuthDecision::Skip) => Refused::credential("not_a_token_user", "28000", user),
    };
    Err(refused.challenged(client_flow::challenge(jwt, startup, user)))
}

async fn by_password(
    stream: &mut Incoming,
    name: Name<'_>,
    entry: Option<&User>,
    auth_type: AuthType,
    generation: &Generation,
    address: Option<SocketAddr>,
) -> Result<Who, Refused> {
    let user = name.user;
    let method = match auth_type {
        AuthType::Trust if entry.is_some() => return Ok(Who::User(user.to_owned())),
        AuthType::Trust => return Err(Refused::credential("unknown_user", "28P01", user)),
        AuthType::Md5 => Method::Md5,
        AuthType::Plain => Method::Plain,
        AuthType::Scram | AuthType::Jwt => Method::Scram,
    };
    let none = Candidates::none();
    let config: &Config = &generation.config;
    let passwords = generation.passwords.load();
    let candidates = entry.and_then(|entry| passwords.of(config, entry)).unwrap_or(&none);
    // The client's MD5 answer is made with the name that it typed.
    let salted = if method == Method::Md5 && !candidates.only_scram() { name.typed } else { user };
    let limited = login_limits::check(&config.general, address, user).err();
    let barred = limited.map(|_| candidates.barred(method, user));
    let outcome = methods::authenticate(stream, method, salted, barred.as_ref().unwrap_or(candidates)).await;
    if let (Ok(_), Some(by)) = (&outcome, limited) {
        return Err(Refused::credential(LIMITED, "28P01", user).detail(by.name()));
    }
    match outcome {
        Ok(Verdict::Accepted) if entry.is_some() => Ok(Who::User(user.to_owned())),
        Ok(_) => {
            let reason = if entry.is_some() { "wrong_password" } else { "unknown_user" };
            Err(Refused::credential(reason, "28P01", user))
        }
        Err(MethodError::Closed) => Err(gone()),
        Err(error) => Err(Refused::exchange(&error)),
    }
}
