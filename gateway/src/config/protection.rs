//! What PgDog's files may hold that keeps somebody out there and would not here: refused, because a file that is read in part
//! would open what its owner has closed.

use pgdog_jwt::reader::{File, Report, Section};
use toml_edit::Item;

/// Sections of `pgdog.toml`, and what to do.
const SECTIONS: [(&str, &str); 3] = [
    (
        "multi_tenant",
        "nothing here looks for a tenant's column in queries; keep tenants apart with row-level security and [tenants]",
    ),
    ("plugins", "what a plugin refuses would not be refused here; put a PgDog behind the gateway for it"),
    ("vault", "credentials do not come from Vault here; give them in the environment, or let Vault write the files"),
];

/// Keys of an entry that mean something wherever they are set.
const DATABASES: [(&str, &str); 1] = [("resharding_only", "clients could open the database here; leave the entry out")];

const USERS: [(&str, &str); 4] = [
    (
        "identity",
        "who a client certificate names is not compared here; set \"tls_client_certificate_required\", or use tokens",
    ),
    ("server_auth", "only passwords are known here; give \"server_password\""),
    ("server_vault_path", "credentials do not come from Vault here; give \"server_password\""),
    ("vault_path", "passwords do not come from Vault here; give \"password\" or \"password_hash\""),
];

/// Refuses sections.
pub(super) fn check_file(file: &File, report: &Report) {
    for (name, advice) in SECTIONS {
        if let Some(item) = file.root().get(name).filter(|item| holds_something(item)) {
            let label = if item.is_array_of_tables() { format!("[[{name}]]") } else { format!("[{name}]") };
            report.error(file.root_spot(name), format!("{label}: {advice}"));
        }
    }
}

fn holds_something(item: &Item) -> bool {
    item.as_array().is_none_or(|list| !list.is_empty())
}

/// Refuses keys of `[general]`.
pub(super) fn check_general(section: &Section<'_>) {
    let action = section.entries().into_iter().find(|(key, ..)| *key == "query_size_limit_action");
    if let Some((_, _, spot)) = action.filter(|(_, item, _)| item.as_str() == Some("block")) {
        let advice = "large statements would pass; \"max_statement_size\" in [jwt] bounds those of token users";
        section.report.error(spot, format!("\"query_size_limit_action\" = \"block\" is not honoured here: {advice}"));
    }
}

/// Refuses keys of `[[databases]]`.
pub(super) fn check_database(section: &Section<'_>) {
    check(section, &DATABASES);
}

/// Refuses keys of `[[users]]`.
pub(super) fn check_user(section: &Section<'_>) {
    check(section, &USERS);
}

fn check(section: &Section<'_>, keys: &[(&str, &str)]) {
    for (key, item, spot) in section.entries() {
        let advice = keys.iter().find(|(known, _)| *known == key).map(|(_, advice)| advice);
        // Where the value says that there is nothing, nothing is lost.
        let is_set = item.as_bool() != Some(false) && !(key == "server_auth" && item.as_str() == Some("password"));
        if let Some(advice) = advice.filter(|_| is_set) {
            section.report.error(spot, format!("\"{key}\" is not honoured here: {advice}"));
        }
    }
}
