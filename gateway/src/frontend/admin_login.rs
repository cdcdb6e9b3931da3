//! The login to the admin database. Whatever `auth_type` says, it is the administrator's password, over SCRAM: a token
//! never opens it, and without a configured password nobody is let in.

use std::net::SocketAddr;
use std::sync::Arc;

use super::certificate;
use super::login::prepare;
use super::login_limits;
use super::methods::{self, Candidates, Method, MethodError, Verdict};
use super::refused::{LIMITED, Refused, gone};
use super::sessions::{self, Registration};
use super::tenant;
use crate::admin;
use crate::app::state::Generation;
use crate::net::read::Incoming;
use crate::stats::{About, Account};
use crate::wire::PgError;
use crate::wire::startup::Startup;

/// Lets the administrator in: the session, and what the client is told.
pub(super) async fn admit(
    stream: &mut Incoming,
    startup: &Startup,
    user: &str,
    generation: &Generation,
    address: Option<SocketAddr>,
) -> Result<(Registration, Vec<u8>), Refused> {
    let version = prepare(stream, startup, user).await?;
    certificate::require(stream.get_ref(), &generation.config.general, None)
        .map_err(|error| Refused::new("no_certificate", error))?;
    prove(stream, user, generation, address).await?;
    let application_name = startup.get("application_name").unwrap_or_default();
    let (user_name, database) = (user.to_owned(), generation.config.admin.name.clone());
    let account = Account { user: user_name, tenant: None, database, pool: None, mode: None, token: None };
    let about = About {
        account: Arc::new(account),
        application_name: application_name.into(),
        address,
        encryption: certificate::encryption(stream.get_ref()),
    };
    let registration = sessions::register(version, about)
        .map_err(|_| Refused::new("internal", PgError::fatal("58000", "no random numbers are to be had")))?;
    registration.ignore_cancel();
    let greeting = admin::greeting(user, application_name, &registration);
    Ok((registration, greeting))
}

/// Another user goes through the same exchange, which nothing satisfies.
async fn prove(
    stream: &mut Incoming,
    user: &str,
    generation: &Generation,
    address: Option<SocketAddr>,
) -> Result<(), Refused> {
    let is_admin = user == generation.config.admin.user;
    let config = &generation.config;
    let limited = login_limits::check(&config.general, address, tenant::split(config, user).user).err();
    let nobody = Candidates::none();
    let passwords = generation.passwords.load();
    let candidates = if is_admin { passwords.of_admin() } else { &nobody };
    let barred = limited.map(|_| candidates.barred(Method::Scram, user));
    let candidates = barred.as_ref().unwrap_or(candidates);
    let outcome = methods::authenticate(stream, Method::Scram, user, candidates).await;
    if let (Ok(_), Some(by)) = (&outcome, limited) {
        return Err(Refused::credential(LIMITED, "28P01", user).detail(by.name()));
    }
    match outcome {
        Ok(Verdict::Accepted) if is_admin => Ok(()),
        Ok(_) => {
            let reason = if is_admin { "wrong_password" } else { "not_the_administrator" };
            Err(Refused::credential(reason, "28P01", user))
        }
        Err(MethodError::Closed) => Err(gone()),
        Err(error) => Err(Refused::exchange(&error)),
    }
}
