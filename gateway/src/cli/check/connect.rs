//! `--connect`: servers, issuers and roles, tried for real and within a limit of time.

use std::sync::Arc;
use std::time::Duration;

use pgdog_jwt::KeyState;
use pgdog_jwt::config::KeySource;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::Severity;
use super::accounts::{Account, accounts};
use super::server::{Ways, problems};
use crate::app::state::Generation;
use crate::net::options::TcpOptions;
use crate::net::tls::ClientTls;

/// Connections that are tried at a time.
const AT_A_TIME: usize = 8;

type Found = Vec<(Severity, String)>;

/// What does not work.
pub(super) async fn try_all(generation: &Arc<Generation>, limit: Duration) -> Found {
    let end = Instant::now() + limit;
    let (mut found, servers) = tokio::join!(issuers(generation, end), servers(generation, end));
    found.extend(servers);
    found
}

/// Whether the keys of every issuer are to be had.
async fn issuers(generation: &Arc<Generation>, end: Instant) -> Found {
    let Some(authenticator) = &generation.authenticator else { return Vec::new() };
    let is_in_time = timeout_at(end, authenticator.warm()).await.is_ok();
    let mut found = Vec::new();
    let issuers = generation.config.jwt.iter().flat_map(|jwt| &jwt.core.issuers);
    for (issuer, status) in issuers.zip(authenticator.status()) {
        let name = status.issuer.as_deref().unwrap_or("any issuer");
        let place = match issuer.keys {
            KeySource::Discovery(_) => format!("{name}: keys by its metadata"),
            _ => format!("{name}: keys of {}", status.source),
        };
        let reason = match (&status.last_error, is_in_time) {
            (Some(error), _) => error.clone(),
            (None, false) => "no answer in time".to_owned(),
            (None, true) => "they are not there".to_owned(),
        };
        if matches!(status.state, KeyState::Missing | KeyState::TooOld) {
            found.push((Severity::Error, format!("{place}: {reason}")));
        } else if status.keys.is_empty() && !matches!(issuer.keys, KeySource::None) {
            found.push((Severity::Error, format!("{place}: there is no key that can be used")));
        }
        found.extend(status.skipped.iter().map(|skipped| (Severity::Warning, format!("{place}: {skipped}"))));
    }
    found
}

async fn servers(generation: &Arc<Generation>, end: Instant) -> Found {
    let config = &generation.config;
    let tls = match ClientTls::from_config(&config.general) {
        Ok(tls) => tls,
        Err(error) => return vec![(Severity::Error, error.to_string())],
    };
    let ways = Arc::new(Ways {
        tls,
        tcp: TcpOptions::from(&config.tcp),
        connect_timeout: config.general.connect_timeout,
        allow_privileged_roles: config.jwt.as_ref().is_some_and(|jwt| jwt.allow_privileged_roles),
    });
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut trials = JoinSet::new();
    for (number, account) in accounts(config).into_iter().enumerate() {
        let (ways, places) = (Arc::clone(&ways), Arc::clone(&places));
        trials.spawn(async move {
            let trial = async {
                let _place = places.acquire().await;
                problems(&account, &ways).await
            };
            let late = || vec![(Severity::Error, "no answer in time".to_owned())];
            let found = timeout_at(end, trial).await.unwrap_or_else(|_| late());
            let place = place(&account);
            (number, found.into_iter().map(|(severity, problem)| (severity, format!("{place}: {problem}"))).collect())
        });
    }
    let mut all: Vec<(usize, Found)> = Vec::new();
    while let Some(done) = trials.join_next().await {
        all.extend(done.ok());
    }
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().flat_map(|(_, found)| found).collect()
}

fn place(account: &Account) -> String {
    let whom = account.login.as_ref().map_or_else(String::new, |login| format!(" as \"{}\"", login.user));
    format!("database \"{}\", server {}{whom}", account.database, account.address)
}
