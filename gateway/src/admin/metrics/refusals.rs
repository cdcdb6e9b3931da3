//! Metrics of logins that are kept out: limits on failures, and revocations.

use super::Page;
use crate::app::state::App;
use crate::frontend::{audit_flood, login_limits, refusal_delay};
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
    page.family("audit_left_out", "counter", "Refused logins that the log only sums up.");
    page.sample("audit_left_out_total", &[], audit_flood::left_out());
}

/// What is revoked, and what came of it.
pub(super) fn revocations(page: &mut Page, app: &App) {
    let Some(list) = app.revocations() else { return };
    page.family("revocations", "gauge", "Revocations that hold.");
    page.sample("revocations", &[], list.len());
    page.family("revoked_sessions", "counter", "Sessions that were ended because their tokens were revoked.");
    page.sample("revoked_sessions_total", &[], events::all_revoked_sessions());
    if list.path().is_some() {
        page.family("revocation_file_up", "gauge", "0: the revocation file cannot be read as it is now.");
        page.sample("revocation_file_up", &[], u8::from(list.problem().is_none()));
    }
}
