//! Role mappings in the environment, in gprxy's form: `ROLE_MAPPING_<ROLE>=user:password`, and `DEFAULT_ROLE`.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::file::Report;
use super::model::AccountPool;
use super::role_mappings::Mapping;
use crate::config::{RoleMapping, Secret, Spot, ValueMatch};

const PREFIX: &str = "ROLE_MAPPING_";
const DEFAULT: &str = "DEFAULT_ROLE";

/// The rules, in the order of their roles, and the one for a token that no rule is for. A variable that cannot be read is
/// reported by its name alone: its value holds a password.
pub(super) fn from_env(
    variables: impl Iterator<Item = (OsString, OsString)>,
    report: &Report,
) -> (Vec<Mapping>, Option<Mapping>) {
    let mut mappings = BTreeMap::new();
    let mut default = None;
    for (name, value) in variables {
        let Some(name) = name.to_str() else { continue };
        let spot = || Spot::whole(name);
        if name == DEFAULT {
            default = value.to_str().map(|role| role.trim().to_ascii_lowercase()).filter(|role| !role.is_empty());
        }
        let Some(role) = name.strip_prefix(PREFIX) else { continue };
        let Some(mapping) = value.to_str().and_then(|value| mapping(role, value, spot())) else {
            report.error(spot(), "must be a role's account as user:password");
            continue;
        };
        if mappings.insert(mapping.rule.name.clone(), mapping).is_some() {
            report.error(spot(), "another variable is for the same role: case makes no difference");
        }
    }
    let default = default.and_then(|role| {
        let found = mappings.get(&role).map(Mapping::for_every_token);
        if found.is_none() {
            report.error(Spot::whole(DEFAULT), format!("there is no {PREFIX} variable for the role \"{role}\""));
        }
        found
    });
    (mappings.into_values().collect(), default)
}

/// Split at the first colon, both parts trimmed: a password may have colons in it.
fn mapping(role: &str, value: &str, place: Spot) -> Option<Mapping> {
    let (user, password) = value.split_once(':')?;
    let (user, password) = (user.trim(), password.trim());
    let name = role.to_ascii_lowercase();
    if name.is_empty() || user.is_empty() {
        return None;
    }
    let rule = RoleMapping {
        name: name.clone(),
        claim: None,
        value: Some(ValueMatch::Exact { values: vec![name.clone()], ignore_case: true }),
        databases: None,
        server_user: user.to_owned(),
        server_password: Some(password).filter(|password| !password.is_empty()).map(Secret::new),
        role: None,
        read_only: None,
    };
    let pool = AccountPool { name, pool_size: None, pooler_mode: None };
    Some(Mapping { rule, pool, place })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = (Vec<(String, String, String)>, Option<String>, Vec<String>);

    fn read(variables: &[(&str, &str)]) -> Read {
        let report = Report::default();
        let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let (mappings, default) = from_env(variables, &report);
        let shown = |mapping: Mapping| {
            let password = mapping.rule.server_password.map_or_else(String::new, |secret| secret.expose().to_owned());
            (mapping.rule.name, mapping.rule.server_user, password)
        };
        let errors = report.errors.into_inner().iter().map(ToString::to_string).collect();
        (mappings.into_iter().map(shown).collect(), default.map(|mapping| mapping.rule.name), errors)
    }

    #[test]
    fn a_password_may_have_colons_in_it() {
        let (mappings, default, errors) = read(&[
            ("ROLE_MAPPING_WRITER", " app_rw : p@ss/#%:word: "),
            ("ROLE_MAPPING_Admin", "app_admin:"),
            ("DEFAULT_ROLE", "ADMIN"),
            ("PATH", "/bin"),
        ]);
        let of = |role: &str, user: &str, password: &str| (role.to_owned(), user.to_owned(), password.to_owned());
        assert_eq!(mappings, [of("admin", "app_admin", ""), of("writer", "app_rw", "p@ss/#%:word:")]);
        assert_eq!((default.as_deref(), errors.is_empty()), (Some("admin"), true));
    }

    #[test]
    fn what_cannot_be_read_is_named_without_its_value() {
        for (variables, expected) in [
            ([("ROLE_MAPPING_A", "hunter2")].as_slice(), "ROLE_MAPPING_A: must be"),
            (&[("ROLE_MAPPING_", "u:hunter2")], "ROLE_MAPPING_: must be"),
            (&[("ROLE_MAPPING_A", " :hunter2")], "ROLE_MAPPING_A: must be"),
            (&[("ROLE_MAPPING_A", "u:hunter2"), ("ROLE_MAPPING_a", "v:hunter2")], "ROLE_MAPPING_a: another"),
            (&[("ROLE_MAPPING_A", "u:hunter2"), ("DEFAULT_ROLE", "b")], "DEFAULT_ROLE: there is no"),
        ] {
            let (_, default, errors) = read(variables);
            assert_eq!((errors.len(), default), (1, None), "{errors:?}");
            assert!(errors[0].starts_with(expected) && !errors[0].contains("hunter2"), "{errors:?}");
        }
        assert_eq!(read(&[("DEFAULT_ROLE", "")]), (Vec::new(), None, Vec::new()));
    }
}
