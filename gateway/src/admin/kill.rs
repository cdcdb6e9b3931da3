//! KILL: one client, the clients of a user or subject, or all of a database.

use super::command::Target;
use super::control;
use super::run::Outcome;
use crate::app::state::App;
use crate::audit::{Event, Record};
use crate::backend::gate;
use crate::frontend::sessions::{self, Registration};
use crate::stats::Card;
use crate::wire::PgError;

/// Cuts off whom is meant, but never the one that says so.
pub(super) fn kill(app: &'static App, registration: &Registration, target: &Target) -> Result<Outcome, PgError> {
    let ended = match target {
        Target::Client(number) => end_client(registration, number),
        Target::User(user) => end_user(registration, user),
        Target::Any(whom) => match end_client(registration, whom) {
            0 if app.state().registry.cluster(whom).is_some() => return Err(ambiguous(whom)),
            0 => end_user(registration, whom),
            ended => ended,
        },
        Target::Database(name) => return kill_database(app, registration, name),
    };
    match ended {
        0 => Err(PgError::error("42704", "there is no such client").hint("SHOW CLIENTS lists ids and users.")),
        ended => Ok(Outcome::tag(&format!("KILL {ended}"))),
    }
}

/// In PgBouncer, the name in KILL is a database; here it is a user.
fn ambiguous(name: &str) -> PgError {
    PgError::error("22023", format!("\"{name}\" is the name of a database: KILL {name} is ambiguous"))
        .hint("Say KILL DATABASE or KILL USER, and the name.")
}

/// Cuts off the clients of a database and closes its connections. Whoever comes then waits until RESUME.
fn kill_database(app: &'static App, registration: &Registration, name: &str) -> Result<Outcome, PgError> {
    let sets = control::sets(app, Some(name))?;
    gate::of(name).close(app.state().config.admin.pause_timeout);
    let ended = end(registration, |_, card| card.about.database == name);
    sets.iter().flat_map(|set| &set.pools).for_each(|pool| pool.reconnect());
    let notices = vec![format!("new statements of database \"{name}\" wait until RESUME {name}")];
    Ok(Outcome { notices, ..Outcome::tag(&format!("KILL {ended}")) })
}

fn end_client(registration: &Registration, number: &str) -> usize {
    let number: Option<u32> = number.parse().ok();
    end(registration, |process, _| number == Some(process))
}

fn end_user(registration: &Registration, user: &str) -> usize {
    end(registration, |_, card| {
        let subject = card.about.token.as_ref().map(|token| token.subject.as_str());
        card.about.user == user || subject == Some(user)
    })
}

fn end(registration: &Registration, is_meant: impl Fn(u32, &Card) -> bool) -> usize {
    let administrator = &registration.meter.card().about.user;
    sessions::end(|process, card| {
        let is_meant = process != registration.process() && is_meant(process, card);
        if is_meant {
            Record::of_session(Event::Kill, process, card).by(administrator).send();
        }
        is_meant
    })
}
