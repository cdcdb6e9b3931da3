//! The settings that a client asks for in its start-up packet: parameters of their own, and those inside `options`.

use crate::backend::settings::Settings;
use crate::router::{Refusal, is_for_gateway, refused_startup_parameter, startup_assignments};
use crate::wire::startup::Startup;

/// Names that the protocol has taken for itself: as settings, written with other letters or inside `options`, they would
/// come to mean something else on their way to a server.
const TAKEN: [&str; 4] = ["user", "database", "replication", "options"];

/// Most settings that one client may ask for.
const MAX_SETTINGS: usize = 64;

/// Why a start-up packet is not acceptable.
pub(super) enum BadParameter {
    /// The guard says no.
    Refused(&'static Refusal),
    /// It cannot be read.
    Malformed(String),
}

/// Reads the settings; with the guard on, those that touch the identity are refused, also inside `options`.
pub(super) fn read(startup: &Startup, guarded: bool, protected: &[Box<str>]) -> Result<Settings, BadParameter> {
    let mut settings = Settings::default();
    for (name, value) in &startup.parameters {
        if guarded && let Some(refusal) = refused_startup_parameter(name, value, protected) {
            return Err(BadParameter::Refused(refusal));
        }
        match name.as_str() {
            "user" | "database" | "replication" => {}
            "options" => {
                let assignments = startup_assignments(value).ok_or_else(|| {
                    BadParameter::Malformed("start-up options other than \"-c name=value\" are not supported".into())
                })?;
                for (name, value) in assignments.iter().filter(|(name, _)| !is_for_gateway(name)) {
                    settings.set(name, value);
                }
            }
            name if name.starts_with("_pq_.") || is_for_gateway(name) => {}
            name => settings.set(name, value),
        }
    }
    if let Some((name, _)) = settings.iter().find(|(name, _)| TAKEN.contains(name) || name.starts_with("_pq_.")) {
        return Err(BadParameter::Malformed(format!("unrecognized configuration parameter \"{name}\"")));
    }
    if settings.len() > MAX_SETTINGS {
        return Err(BadParameter::Malformed("too many settings in the start-up packet".into()));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::startup::Version;

    fn reads(name: &str, value: &str) -> bool {
        let parameters = vec![(name.to_owned(), value.to_owned())];
        read(&Startup { version: Version::V3_0, parameters }, false, &[]).is_ok()
    }

    #[test]
    fn what_is_said_to_the_gateway_alone_is_no_setting() {
        let options = "-c pgdog_jwt.client_flow=oauthbearer -c work_mem=1MB".to_owned();
        let own = ("PgDog_JWT.client_flow".to_owned(), "oauthbearer".to_owned());
        let parameters = vec![("options".to_owned(), options), own];
        let settings = read(&Startup { version: Version::V3_0, parameters }, true, &[]).ok().unwrap();
        assert_eq!(settings.iter().collect::<Vec<_>>(), [("work_mem", "1MB")]);
    }

    #[test]
    fn names_of_the_protocol_are_no_settings() {
        assert!(reads("replication", "database") && reads("user", "alice") && reads("options", "-c work_mem=1MB"));
        for (name, value) in [
            ("Replication", "database"),
            ("USER", "postgres"),
            ("Database", "postgres"),
            ("Options", "-c role=bob"),
            ("options", "-c replication=true"),
            ("options", "--User=postgres"),
            ("options", "-c _pq_.x=1"),
        ] {
            assert!(!reads(name, value), "{name}={value}");
        }
    }
}
