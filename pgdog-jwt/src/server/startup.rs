//! The start-up parameters of a grant's server connections. What comes with the start-up packet is PostgreSQL's own reset
//! value: RESET ALL and DISCARD ALL lead back to the subject, not to the account that logged in.

use crate::AuthGrant;

/// The setting that is a connection's role.
const ROLE: &str = "role";
/// The setting that would undo it.
const SESSION_AUTHORIZATION: &str = "session_authorization";

/// A value has a character outside of ASCII, which `options` cannot be trusted with: a server splits them at what its own
/// locale takes for white space, byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the setting {0:?} has a value outside of ASCII, which has no place in the start-up options of a server")]
pub struct NotAscii(
    /// The setting. The value is not shown.
    pub String,
);

impl AuthGrant {
    /// What goes into the start-up packet of every server connection beside `user` and `database` (PostgreSQL documentation,
    /// "StartupMessage"): `role`, unless the account that logs in is the role, and the settings. Names and values are written
    /// as they are, each ended by a NUL, which none of them has.
    ///
    /// PostgreSQL ends the login when the account may not become the role. It must be asked all the same who the connection is,
    /// with a [`Question`](crate::server::Question): another pooler in between may drop parameters.
    pub fn startup_parameters(&self) -> Vec<(&str, &str)> {
        let role = self.server_role.as_deref().filter(|role| Some(*role) != self.server_user.as_deref());
        let settings = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        role.map(|role| (ROLE, role)).into_iter().chain(settings).collect()
    }

    /// The same as the value of the one parameter `options`, for drivers that give no access to others (PostgreSQL
    /// documentation, `PGOPTIONS`): `-c name=value`, with a backslash in front of everything that could end a value.
    ///
    /// # Errors
    /// A value has a character outside of ASCII.
    pub fn startup_options(&self) -> Result<String, NotAscii> {
        let mut options = String::new();
        for (name, value) in self.startup_parameters() {
            if !name.is_ascii() || !value.is_ascii() {
                return Err(NotAscii(name.to_owned()));
            }
            if !options.is_empty() {
                options.push(' ');
            }
            options.push_str("-c ");
            for character in name.chars().chain(['=']).chain(value.chars()) {
                if !character.is_ascii_alphanumeric() && !matches!(character, '_' | '.' | '=') {
                    options.push('\\');
                }
                options.push(character);
            }
        }
        Ok(options)
    }

    /// Whether a start-up parameter, or a setting, says who the session is, so that it is not the client's to choose. Names of
    /// settings are the same in upper and lower case.
    pub fn reserves(&self, name: &str) -> bool {
        let own = self.settings.iter().map(|(name, _)| name.as_str());
        own.chain([ROLE, SESSION_AUTHORIZATION]).any(|own| own.eq_ignore_ascii_case(name))
    }
}
