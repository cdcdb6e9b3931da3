//! How a client that has a token shows it: as a password in clear text, or over SASL OAUTHBEARER.
//!
//! The server asks first, and a client that does not know what it is asked for leaves. Nothing in a start-up packet says
//! what a client knows: libpq 18 sends what libpq 9 sent, and clients that ask for protocol 3.2 need not know OAUTHBEARER.
//! So where both are taken, a client says in its start-up packet that it wants to be asked for OAUTHBEARER.

use pgdog_jwt::DenyReason;
use pgdog_jwt_guard::startup_assignments;
use tokio::io::AsyncWriteExt;

use super::methods::oauthbearer::{self, Shown};
use super::methods::{self, MethodError, Secret};
use super::refusal_delay;
use super::refused::{Refused, gone, left};
use super::unauthenticated;
use crate::config::{Choice, ClientFlow, Jwt};
use crate::dialect::{CLIENT_FLOW, is_for_gateway};
use crate::net::read::{Incoming, ReadError, read_message};
use crate::wire::startup::Startup;
use crate::wire::{PgError, message};

/// Why a client was turned away that had no token and comes back with one: not a login, so nothing for the audit log.
pub(super) const DISCOVERY: &str = "discovery";

/// How this client is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Password,
    OauthBearer,
}

/// Asks the client for its token, and gives what it sent.
pub(super) async fn ask(stream: &mut Incoming, startup: &Startup, jwt: &Jwt, user: &str) -> Result<Secret, Refused> {
    let flow = choose(jwt.oauth.client_flow, startup).map_err(|error| Refused::told("client_flow", error))?;
    let shown = match flow {
        Flow::Password => return password(stream, jwt.max_password_size, user).await,
        Flow::OauthBearer => oauthbearer::ask(stream, jwt.max_password_size).await,
    };
    let refused = |reason| Refused::credential(reason, "28000", user).challenged(challenge(jwt, startup, user));
    match shown {
        Ok(Shown::Token(token)) => Ok(token),
        Ok(Shown::Nothing) => Err(refused(DISCOVERY)),
        Ok(Shown::Unusable) => Err(refused("malformed_token").detail("no bearer token")),
        Err(MethodError::Closed | MethodError::Write(_)) => Err(gone()),
        Err(MethodError::Read(error)) => Err(unreadable(&error, user)),
        Err(error) => Err(Refused::exchange(&error)),
    }
}

async fn password(stream: &mut Incoming, limit: usize, user: &str) -> Result<Secret, Refused> {
    let mut ask = Vec::new();
    message::authentication_cleartext(&mut ask);
    stream.write_all(&ask).await.map_err(left)?;
    let mut body = Vec::new();
    let read = unauthenticated::message(read_message(stream, limit, &mut body)).await;
    refusal_delay::credential_received();
    match read {
        Ok(b'p') => Ok(Secret::new(body.strip_suffix(&[0]).unwrap_or(&body))),
        Ok(b'X') | Err(ReadError::Closed) => Err(gone()),
        Ok(_) => Err(Refused::told("protocol", PgError::fatal("08P01", "expected a password message"))),
        Err(error) => Err(unreadable(&error, user)),
    }
}

/// Nothing is known about what follows in the stream, so no exchange can be ended.
fn unreadable(error: &ReadError, user: &str) -> Refused {
    let refused = |reason| Refused::credential(reason, "28000", user);
    match error {
        // The same as for one that is a little shorter, and was read.
        ReadError::TooLarge { .. } => refused(DenyReason::TooLarge.code()).detail(DenyReason::TooLarge.to_string()),
        error => refused("unreadable_credential").detail(error.to_string()),
    }
}

/// How the client is to be asked for its token.
fn choose(taken: ClientFlow, startup: &Startup) -> Result<Flow, PgError> {
    let wish = wish(startup).map(|word| ClientFlow::from_word(&word));
    match (taken, wish) {
        (_, Some(None | Some(ClientFlow::Both))) => {
            let text = format!("invalid value for parameter \"{CLIENT_FLOW}\"");
            Err(PgError::fatal("22023", text).hint("Available values: password, oauthbearer."))
        }
        (ClientFlow::Password | ClientFlow::Both, None | Some(Some(ClientFlow::Password))) => Ok(Flow::Password),
        (ClientFlow::OauthBearer, None) => Ok(Flow::OauthBearer),
        (ClientFlow::OauthBearer | ClientFlow::Both, Some(Some(ClientFlow::OauthBearer))) => Ok(Flow::OauthBearer),
        (ClientFlow::Password, Some(Some(ClientFlow::OauthBearer))) => {
            Err(PgError::fatal("0A000", "SASL OAUTHBEARER is not offered").hint("Send the token as the password."))
        }
        (ClientFlow::OauthBearer, Some(Some(ClientFlow::Password))) => {
            let error = PgError::fatal("0A000", "a token is not accepted as a password");
            Err(error.hint("Connect with a client that knows SASL OAUTHBEARER, such as psql 18."))
        }
    }
}

/// What a client that showed its token over OAUTHBEARER expects before it is told that it is refused.
/// It names the issuer whose tokens users of this name come with: the first of several.
pub(super) fn challenge(jwt: &Jwt, startup: &Startup, user: &str) -> Option<Vec<u8>> {
    if choose(jwt.oauth.client_flow, startup) != Ok(Flow::OauthBearer) {
        return None;
    }
    let suffix = jwt.core.suffix_of(user);
    let at = jwt.core.issuers.iter().position(|issuer| issuer.user_suffix.as_deref() == suffix);
    let discovery = at.and_then(|at| jwt.oauth.discoveries.get(at))?;
    Some(methods::challenge(discovery.url().as_deref(), &discovery.scope))
}

/// The last word counts, as with settings. `options` that cannot be read are refused later.
fn wish(startup: &Startup) -> Option<String> {
    let assignments = startup.parameters.iter().flat_map(|(name, value)| match name.as_str() {
        "options" => startup_assignments(value).unwrap_or_default(),
        name => vec![(name.to_owned(), value.clone())],
    });
    assignments.filter(|(name, _)| is_for_gateway(name)).map(|(_, value)| value).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::startup::Version;

    fn chosen(taken: ClientFlow, parameters: &[(&str, &str)]) -> Result<Flow, String> {
        let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        choose(taken, &Startup { version: Version::V3_0, parameters }).map_err(|error| error.code.to_string())
    }

    const OAUTHBEARER: (&str, &str) = ("options", "-c pgdog_jwt.client_flow=oauthbearer");
    const PASSWORD: (&str, &str) = ("pgdog_jwt.client_flow", "password");

    #[test]
    fn a_client_that_says_nothing_is_asked_as_it_always_was() {
        assert_eq!(chosen(ClientFlow::Password, &[]), Ok(Flow::Password));
        assert_eq!(chosen(ClientFlow::Both, &[("user", "alice")]), Ok(Flow::Password));
        assert_eq!(chosen(ClientFlow::OauthBearer, &[]), Ok(Flow::OauthBearer));
    }

    #[test]
    fn where_both_are_taken_the_client_says_which() {
        let dashes = ("options", "-c work_mem=1MB --PGDOG-JWT.client-flow=OauthBearer");
        for wish in [OAUTHBEARER, dashes, ("pgdog_jwt.client_flow", "oauthbearer")] {
            assert_eq!(chosen(ClientFlow::Both, &[wish]), Ok(Flow::OauthBearer), "{wish:?}");
        }
        assert_eq!(chosen(ClientFlow::Both, &[PASSWORD]), Ok(Flow::Password));
        assert_eq!(chosen(ClientFlow::Both, &[OAUTHBEARER, PASSWORD]), Ok(Flow::Password));
        assert_eq!(chosen(ClientFlow::Both, &[PASSWORD, OAUTHBEARER]), Ok(Flow::OauthBearer));
    }

    #[test]
    fn a_wish_that_cannot_be_met_is_an_error_before_the_token_is_sent() {
        assert_eq!(chosen(ClientFlow::Password, &[OAUTHBEARER]), Err("0A000".into()));
        assert_eq!(chosen(ClientFlow::OauthBearer, &[PASSWORD]), Err("0A000".into()));
        for value in ["both", "", "scram"] {
            assert_eq!(chosen(ClientFlow::Both, &[("pgdog_jwt.client_flow", value)]), Err("22023".into()));
        }
    }
}
