//! Secrets that programs print are renewed at their intervals. Connections to PostgreSQL take the new one when they are made.

use std::sync::Arc;
use std::time::Duration;

use pgdog_jwt::secret::{self, Renewable};
use tracing::{info, warn};

use super::state::App;
use crate::stats::events::{self, Renewal};

/// How often is looked for what is due.
const LOOK: Duration = Duration::from_secs(1);

/// Renews what is due, every second.
pub(super) async fn run(app: &'static App) {
    let mut ticks = tokio::time::interval(LOOK);
    let mut seen = secret::changes();
    loop {
        ticks.tick().await;
        for renewable in secret::due() {
            // A program that hangs is waited for by nobody else.
            tokio::spawn(renew(renewable));
        }
        let changes = secret::changes();
        if changes != seen {
            seen = changes;
            let _ = tokio::task::spawn_blocking(|| app.renew_passwords()).await;
        }
    }
}

async fn renew(renewable: Arc<Renewable>) {
    let program = renewable.command().program().to_owned();
    let Ok(outcome) = tokio::task::spawn_blocking(move || renewable.renew()).await else { return };
    match outcome {
        Ok(is_another) => {
            events::secret_renewal(if is_another { Renewal::Changed } else { Renewal::Unchanged });
            if is_another {
                info!(event = "secret", decision = "renewed", program, "a secret has changed");
            }
        }
        Err(reason) => {
            events::secret_renewal(Renewal::Failed);
            warn!(event = "secret", decision = "kept", reason, "a secret cannot be renewed: the old one stays");
        }
    }
}
