//! The settings that a client asks for in its start-up packet: parameters of their own, and those inside `options`.

use crate::backend::settings::Settings;
use crate::router::{Refusal, refused_startup_parameter, startup_assignments};
use crate::wire::startup::Startup;

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
                for (name, value) in assignments {
                    settings.set(&name, &value);
                }
            }
            name if name.starts_with("_pq_.") => {}
            name => settings.set(name, value),
        }
    }
    if settings.len() > MAX_SETTINGS {
        return Err(BadParameter::Malformed("too many settings in the start-up packet".into()));
    }
    Ok(settings)
}
