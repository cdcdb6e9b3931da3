//! The standard guard where several subjects are one role.

use super::choices::{Guard, SharedRoles};
use super::model::HostSettings;
use super::section::Section;

/// Code that a subject brings can do everything that the guard refuses in SQL: where a role is shared, somebody must have
/// said that this is as it should be. `own` is `[jwt]`; `places`: where roles are shared, in words.
pub fn check_shared_roles(own: &Section<'_>, host: &HostSettings, places: &[String]) {
    let Some(first) = places.first() else {
        if own.is_present_key("standard_guard_on_shared_roles") && host.shared_roles == SharedRoles::Accept {
            let reason = "\"standard_guard_on_shared_roles\" is not used: no role is shared";
            own.report.warn(own.spot("standard_guard_on_shared_roles"), reason);
        }
        return;
    };
    if host.guard == Guard::Standard && host.shared_roles == SharedRoles::Refuse {
        let reason = format!("\"guard\" = \"standard\" lets a subject change a role that others are too ({first})");
        let hint = "use \"strict\", give each subject a role, or set \"standard_guard_on_shared_roles\" = \"accept\"";
        own.report.error(own.spot("guard"), format!("{reason}; {hint}"));
    }
}
