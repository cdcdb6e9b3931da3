//! `[jwt.provisioning]` in SHOW CONFIG.

use pgdog_jwt::config::Secret;

use super::config::{Entry, millis, shown, word};
use super::secrets::forms;
use crate::config::Jwt;

const SECTION: &str = "jwt.provisioning";

/// Every key, also while it is off.
pub(super) fn entries(jwt: &Jwt) -> Vec<Entry> {
    let settings = jwt.provisioning.as_ref();
    let source = jwt.core.issuers.first().and_then(|issuer| issuer.groups.as_ref());
    let userinfo = source.and_then(|source| source.userinfo.as_ref());
    let password = settings.and_then(|settings| settings.admin_password.as_ref()).map(Secret::origin);
    let mut entries = vec![
        (SECTION, "enabled", shown(settings.is_some())),
        (SECTION, "admin_user", settings.map(|settings| settings.admin_user.clone())),
        (SECTION, "roles", settings.map(|settings| settings.roles.join(", "))),
        (SECTION, "groups", settings.map(|settings| settings.groups.shown())),
        (SECTION, "groups_claim", source.map(|source| source.claim.clone())),
        // Without what follows a "?", which may be an access key.
        (SECTION, "userinfo_url", userinfo.map(|source| bare(&source.url))),
        (SECTION, "userinfo_cache_ttl", userinfo.and_then(|source| shown(source.cache_ttl.as_secs()))),
        (SECTION, "userinfo_connect_timeout", userinfo.and_then(|source| millis(source.connect_timeout))),
        (SECTION, "userinfo_timeout", userinfo.and_then(|source| millis(source.timeout))),
        (SECTION, "userinfo_max_body_size", userinfo.and_then(|source| shown(source.max_body_size))),
        (SECTION, "valid_until", settings.and_then(|settings| word(settings.valid_until))),
        (SECTION, "valid_until_margin", settings.and_then(|settings| shown(settings.valid_until_margin.as_secs()))),
        (SECTION, "disable_after", settings.and_then(|settings| settings.disable_after).and_then(shown)),
        (SECTION, "recheck", settings.and_then(|settings| shown(settings.recheck.as_secs()))),
        (SECTION, "timeout", settings.and_then(|settings| millis(settings.timeout))),
    ];
    entries.extend(forms!("jwt.provisioning", "admin_password", password));
    entries
}

fn bare(url: &str) -> String {
    url.split(['?', '#']).next().unwrap_or_default().to_owned()
}
