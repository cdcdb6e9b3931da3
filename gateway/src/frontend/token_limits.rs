//! How many sessions a subject and a token may have, and from where: the claim's limit for a user, the configuration's
//! for subjects and tokens.

use std::net::IpAddr;

use pgdog_jwt::AuthGrant;

use super::grant::Who;
use super::limits::{self, Full, Key, Limits, Place, Seat};
use super::refused::Refused;
use super::welcome;
use crate::config::{Config, Life, Replay};
use crate::wire::PgError;

/// Takes the places of a new session. `user` is what the client typed.
pub(super) fn take(
    config: &Config,
    database: &str,
    who: &Who,
    user: &str,
    address: Option<IpAddr>,
) -> Result<Vec<Seat>, Box<Refused>> {
    let mut seats = Vec::new();
    let (Some(grant), Some(jwt)) = (who.grant(), &config.jwt) else { return Ok(seats) };
    if grant.max_connections.is_some() {
        let key = Key::User { database: database.into(), user: who.user().into() };
        let limits = Limits { sessions: grant.max_connections, ..Limits::default() };
        seats.push(limits::take(key, limits).map_err(|_| Box::new(welcome::too_many_sessions(who.user())))?);
    }
    if jwt.life.max_sessions_per_subject.is_some() {
        let limits = Limits { sessions: jwt.life.max_sessions_per_subject, ..Limits::default() };
        seats.push(limits::take(Key::subject(grant), limits).map_err(|_| Box::new(too_many_of_subject(user)))?);
    }
    seats.extend(of_token(&jwt.life, grant, user, address)?);
    Ok(seats)
}

/// The place of a session among those of its token; `None` where tokens are not counted.
pub(super) fn of_token(
    life: &Life,
    grant: &AuthGrant,
    user: &str,
    address: Option<IpAddr>,
) -> Result<Option<Seat>, Box<Refused>> {
    if life.max_sessions_per_token.is_none() && life.replay == Replay::Anywhere {
        return Ok(None);
    }
    let place = Place { address: address.map(|address| address.to_canonical()), until: grant.valid_until };
    let limits = Limits {
        sessions: life.max_sessions_per_token,
        place: (life.replay == Replay::SameAddress).then_some(place),
        ..Limits::default()
    };
    let key = Key::token(grant).ok_or_else(|| Box::new(Refused::identity("token_unnamed", user)))?;
    let refused = |full| match full {
        Full::Elsewhere => Refused::identity("token_elsewhere", user),
        Full::Table => Refused::new(
            "too_many_tokens",
            PgError::fatal("53300", "too many tokens are remembered").hint("Try again when some of them have ended."),
        ),
        Full::Sessions | Full::Rate => {
            Refused::new("too_many_token_sessions", PgError::fatal("53300", "too many connections with this token"))
        }
    };
    limits::take(key, limits).map(Some).map_err(|full| Box::new(refused(full)))
}

fn too_many_of_subject(user: &str) -> Refused {
    let error = PgError::fatal("53300", format!("too many connections for the subject of role \"{user}\""));
    Refused::new("too_many_subject_sessions", error)
}
