//! The settings that a client asks for in its start-up packet: parameters of their own, and those inside `options`.

use pgdog_jwt_guard::{Policy, Refusal, startup_assignments};

use crate::backend::settings::Settings;
use crate::dialect::is_for_gateway;
use crate::wire::PgError;
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
    /// It is a mistake, of which the client hears: its credential was good.
    Mistake(PgError),
}

/// Reads the settings; with the guard on, those that it would refuse in SQL are refused, also inside `options`. `guard`: its
/// policy; `None`: there is none.
pub(super) fn read(startup: &Startup, guard: Option<&Policy>) -> Result<Settings, BadParameter> {
    let mut settings = Settings::default();
    for (name, value) in &startup.parameters {
        if name == "options" && startup_assignments(value).is_none() {
            return Err(BadParameter::Mistake(options_mistake(value)));
        }
        if let Some(policy) = guard
            && let Some(refusal) = policy.refused_startup_parameter(name, value)
        {
            return Err(match encoding(policy, name, value) {
                Some(encoding) => BadParameter::Mistake(encoding_mistake(&encoding)),
                None => BadParameter::Refused(refusal),
            });
        }
        match name.as_str() {
            "user" | "database" | "replication" => {}
            "options" => {
                let assignments = startup_assignments(value);
                for (name, value) in assignments.iter().flatten().filter(|(name, _)| !is_for_gateway(name)) {
                    settings.set(name, value);
                }
            }
            name if name.starts_with("_pq_.") || is_for_gateway(name) => {}
            name => settings.set(name, value),
        }
    }
    if let Some((name, _)) = settings.iter().find(|(name, _)| TAKEN.contains(name) || name.starts_with("_pq_.")) {
        let text = format!("unrecognized configuration parameter \"{name}\"");
        return Err(BadParameter::Mistake(PgError::fatal("42704", text)));
    }
    if settings.len() > MAX_SETTINGS {
        let text = format!("the start-up packet has more than {MAX_SETTINGS} settings");
        return Err(BadParameter::Mistake(PgError::fatal("54000", text)));
    }
    Ok(settings)
}

/// The encoding that a parameter asks for, by itself or inside `options`, where nothing else in it would be refused.
fn encoding(policy: &Policy, name: &str, value: &str) -> Option<String> {
    let is_encoding = |name: &str| name.eq_ignore_ascii_case("client_encoding");
    if name != "options" {
        return is_encoding(name).then(|| value.to_owned());
    }
    let assignments = startup_assignments(value)?;
    let (_, last) = assignments.iter().rfind(|(name, _)| is_encoding(name))?;
    let mut others = assignments.iter().filter(|(name, _)| !is_encoding(name));
    let are_harmless = others.all(|(name, value)| policy.refused_startup_parameter(name, value).is_none());
    are_harmless.then(|| last.clone())
}

/// As PostgreSQL says it of an encoding that it does not know; of one that the gateway does not take, the hint says why.
fn encoding_mistake(value: &str) -> PgError {
    PgError::fatal("22023", format!("invalid value for parameter \"client_encoding\": \"{value}\""))
        .hint("Use UTF8, or an encoding that keeps ASCII bytes to themselves: the gateway must read quotes as the server does.")
}

/// What is wrong with `options`, in PostgreSQL's words where it would refuse them too (`process_postgres_switches`).
fn options_mistake(options: &str) -> PgError {
    let error = |text: String| {
        PgError::fatal("42601", text).hint("Write options as -c name=value or --name=value, separated by spaces.")
    };
    let mut words = options.split_ascii_whitespace();
    while let Some(word) = words.next() {
        let (switch, assignment) = match word.strip_prefix("--") {
            Some(long) => (format!("--{long}"), Some(long)),
            None if word == "-c" => match words.next() {
                Some(next) => (format!("-c {next}"), Some(next)),
                None => return error("option requires an argument -- 'c'".to_owned()),
            },
            None => (word.to_owned(), word.strip_prefix("-c")),
        };
        match assignment {
            Some(assignment) if assignment.contains('=') => {}
            Some(_) => return error(format!("{switch} requires a value")),
            None if word.starts_with('-') => {
                return error(format!("start-up option \"{word}\" is not supported"));
            }
            None => return error(format!("invalid command-line argument for server process: {word}")),
        }
    }
    error("start-up options cannot be read".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::DIALECT;
    use crate::wire::startup::Version;
    use pgdog_jwt_guard::{Account, GuardMode, Protected, ReadWriteStrategy};

    fn policy() -> Policy {
        Policy {
            guard: GuardMode::Strict,
            identity: true,
            account: Account::Own,
            strategy: ReadWriteStrategy::Conservative,
            protected: Protected::default(),
            cache_limit: 10,
            max_words: 1_000,
            dialect: DIALECT,
        }
    }

    fn reads(name: &str, value: &str) -> bool {
        let parameters = vec![(name.to_owned(), value.to_owned())];
        read(&Startup { version: Version::V3_0, parameters }, None).is_ok()
    }

    #[test]
    fn what_is_said_to_the_gateway_alone_is_no_setting() {
        let options = "-c pgdog_jwt.client_flow=oauthbearer -c work_mem=1MB".to_owned();
        let own = ("PgDog_JWT.client_flow".to_owned(), "oauthbearer".to_owned());
        let parameters = vec![("options".to_owned(), options), own];
        let settings = read(&Startup { version: Version::V3_0, parameters }, Some(&policy())).ok().unwrap();
        assert_eq!(settings.iter().collect::<Vec<_>>(), [("work_mem", "1MB")]);
    }

    fn mistake(name: &str, value: &str) -> Option<(String, String)> {
        let parameters = vec![(name.to_owned(), value.to_owned())];
        match read(&Startup { version: Version::V3_0, parameters }, Some(&policy())) {
            Err(BadParameter::Mistake(error)) => Some((error.code.to_string(), error.message.to_string())),
            _ => None,
        }
    }

    #[test]
    fn mistakes_sound_like_postgresqls() {
        for (value, text) in [
            ("-c work_mem", "-c work_mem requires a value"),
            ("--work_mem", "--work_mem requires a value"),
            ("work_mem=4MB", "invalid command-line argument for server process: work_mem=4MB"),
            ("-e -S 2048", "start-up option \"-e\" is not supported"),
            ("-c work_mem=3MB -d 1", "start-up option \"-d\" is not supported"),
            ("-c", "option requires an argument -- 'c'"),
        ] {
            assert_eq!(mistake("options", value), Some(("42601".to_owned(), text.to_owned())), "{value}");
        }
        let unknown = "invalid value for parameter \"client_encoding\": \"nope\"".to_owned();
        for (name, value) in [
            ("client_encoding", "nope"),
            ("Client_Encoding", "nope"),
            ("options", "-c work_mem=1MB -c client_encoding=nope"),
        ] {
            assert_eq!(mistake(name, value), Some(("22023".to_owned(), unknown.clone())), "{name}={value}");
        }
    }

    /// What would change who somebody is looks like a wrong token, whatever else is wrong.
    #[test]
    fn an_attempt_on_the_identity_is_no_mistake() {
        for options in ["-c role=bob", "-c role=bob -c client_encoding=nope", "-c client_encoding=nope -c role=bob"] {
            assert_eq!(mistake("options", options), None, "{options}");
        }
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
