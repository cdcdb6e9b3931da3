//! Metrics of logins that are kept out: limits on failures, and revocations.

use super::Page;
use crate::app::state::App;
use crate::frontend::unauthenticated::{self, Bound, Outcome};
use crate::frontend::{audit_flood, cancel, login_limits, refusal_delay};
use crate::stats::events;

/// What happened to those who failed too often, and to the log of it.
pub(super) fn limits(page: &mut Page) {
    let counts = login_limits::counts();
    page.family(
        "logins_limited",
        "counter",
        "Logins that were refused unseen after too many failures, by whose limit.",
    );
    for (by, limited, _) in &counts {
        page.sample("logins_limited_total", &[("by", by.name())], limited);
    }
    page.family("login_failures_tracked", "gauge", "Addresses, and users of addresses, whose failures are counted.");
    for (by, _, tracked) in &counts {
        page.sample("login_failures_tracked", &[("by", by.name())], tracked);
    }
    page.family("refusals_delayed", "gauge", "Refused clients that wait for their answer.");
    page.sample("refusals_delayed", &[], refusal_delay::waiting());
    page.family("audit_left_out", "counter", "Refused logins and cancel requests that the log only sums up.");
    page.sample("audit_left_out_total", &[], audit_flood::left_out());
    page.family("cancel_requests", "counter", "Cancel requests by what became of them.");
    for (outcome, count) in cancel::counts() {
        page.sample("cancel_requests_total", &[("outcome", outcome)], count);
    }
}

/// Clients that have not logged in, and what happened when there were too many.
pub(super) fn unauthenticated(page: &mut Page) {
    page.family("unauthenticated_clients", "gauge", "Clients that have not logged in.");
    page.sample("unauthenticated_clients", &[], unauthenticated::clients());
    for (name, outcome, help) in [
        ("unauthenticated_clients_closed", Outcome::Closed, "Silent clients that were closed to make room, by bound."),
        ("unauthenticated_clients_refused", Outcome::Refused, "New clients that were refused, by the bound they met."),
    ] {
        page.family(name, "counter", help);
        for bound in Bound::ALL {
            let times = unauthenticated::times(outcome, bound);
            page.sample(&format!("{name}_total"), &[("bound", bound.name())], times);
        }
    }
}

/// What is revoked, and what came of it.
pub(super) fn revocations(page: &mut Page, app: &App) {
    let Some(list) = app.revocations() else { return };
    page.family("revocations", "gauge", "Revocations that hold.");
    page.sample("revocations", &[], list.len());
    let help = "Server connections that were closed because of a reply that nothing asked for.";
    page.family("server_desyncs", "counter", help);
    page.sample("server_desyncs_total", &[], events::desyncs());
    page.family("revoked_sessions", "counter", "Sessions that were ended because their tokens were revoked.");
    page.sample("revoked_sessions_total", &[], events::all_revoked_sessions());
    if list.path().is_some() {
        page.family("revocation_file_up", "gauge", "0: the revocation file cannot be used as it is now.");
        page.sample("revocation_file_up", &[], u8::from(list.problem().is_none()));
        let help = "Revocations that hold although the revocation file has lost them.";
        page.family("revocations_lost", "gauge", help);
        page.sample("revocations_lost", &[], list.lost());
    }
}
