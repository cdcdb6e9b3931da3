//! The plugin's configuration file: the ten `jwt_` keys of `[general]` and `[jwt]`, as in PgDog's own file with the patches, and
//! `[plugin]`. PgDog's file has no place for them while `auth_type` is `"plugin"`.

use std::path::{Path, PathBuf};

use pgdog_jwt::reader::{File, FilePath, GENERAL, Host, Key, OnExpiry, Report, Section, Surroundings, key, nearest};
use pgdog_jwt_host::config::Config;

use crate::stamp::Stamps;
use crate::users::Users;

/// What the hook leaves of the keys for hosts. It sees a login and nothing after it, so all others are an error.
const HOOK: Host = Host {
    name: "PgDog's authentication hook",
    honours: Some(&[("[jwt]", "allow_plaintext"), ("[jwt]", "on_expiry")]),
    refuses: &[
        ("mode", "login"),
        ("mode", "passthrough"),
        ("on_expiry", "disconnect"),
        ("on_expiry", "refuse_new_transactions"),
    ],
};

pgdog_jwt::keys! {
    /// What only the plugin needs to know.
    static PLUGIN: Table = "[plugin]" {
        /// PgDog's users.toml. Without it, no user is known by name: each needs `jwt_user_auto_provision`.
        USERS: Key<FilePath> = key("users", FilePath);
    }
}

/// All that logins go by until the files change.
pub(crate) struct Settings {
    pub(crate) config: Config,
    pub(crate) users: Users,
}

/// What a configuration says. `None`: nobody comes with a token.
pub(crate) struct Read {
    pub(crate) settings: Option<Settings>,
    pub(crate) warnings: Vec<String>,
}

/// Reads the file and PgDog's list of users. The stamps are from before, so that no change is missed, and are there for a file
/// that is no good as well.
pub(crate) fn read(path: &Path, previous: Option<&Settings>) -> (Stamps, Result<Read, String>) {
    let alone = Stamps::of([path.to_owned()]);
    let name = path.display().to_string();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return (alone, Err(format!("{name}: {error}"))),
    };
    let users = match users_path(path, &name, &text) {
        Ok(users) => users,
        Err(problems) => return (alone, Err(problems)),
    };
    let stamps = users.iter().fold(alone, |alone, users| alone.and(users.clone()));
    (stamps, read_all(&name, &text, users.as_deref(), previous))
}

fn read_all(name: &str, text: &str, users: Option<&Path>, previous: Option<&Settings>) -> Result<Read, String> {
    let users = users.map(Users::read).transpose()?.unwrap_or_default();
    let around = Surroundings { users: users.names(), servers: Vec::new(), env: &|name| std::env::var(name).ok() };
    let (config, warnings) = Config::read(HOOK, name, text, &around, previous.map(|settings| &settings.config))?;
    let Some(config) = config else { return Ok(Read { settings: None, warnings }) };
    let problems = lost(&config);
    if !problems.is_empty() {
        let lines: Vec<String> = problems.into_iter().map(|problem| format!("{name}: {problem}")).collect();
        return Err(lines.join("\n"));
    }
    Ok(Read { settings: Some(Settings { config, users }), warnings })
}

/// What the file asks for, by a key or by a default, and the hook has no field for.
fn lost(config: &Config) -> Vec<&'static str> {
    let ends = config.host.life.on_expiry != OnExpiry::Ignore;
    let variables = config.has_variables();
    let ends = ends.then_some(
        "the hook cannot end a session with its token; if sessions may outlive their tokens, say \"on_expiry\" = \"ignore\" in \
         [jwt]",
    );
    let variables = variables.then_some("the hook has no field for session variables; remove [jwt.session]");
    ends.into_iter().chain(variables).collect()
}

/// Where PgDog's list of users is; a relative path starts where the file is. The file is the plugin's alone, so it has no section
/// and no key that the plugin does not know.
fn users_path(path: &Path, name: &str, text: &str) -> Result<Option<PathBuf>, String> {
    let report = Report::of(HOOK);
    let Some(file) = File::parse(name, text, &report) else { return Err(problems(report)) };
    let table = |name: &str, label| Section::new(&report, label, Some(&file), file.root().get(name));
    let section = table("plugin", PLUGIN.label);
    let users = section.given(&USERS);
    section.finish(&[]);
    for (key, _) in file.root().iter().filter(|(key, _)| !matches!(*key, "general" | "jwt" | "plugin")) {
        report.error(file.root_spot(key), format!("unknown section [{key}]"));
    }
    for (key, _, spot) in table("general", GENERAL.label).entries() {
        if key != "auth_type" && GENERAL.find(key).is_none() {
            let hint = nearest(key, GENERAL.keys().map(|known| known.name()));
            report.error(spot, format!("unknown key \"{key}\" in [general]{hint}"));
        }
    }
    if report.errors.borrow().is_empty() {
        return Ok(users.map(|users| path.parent().unwrap_or(Path::new("")).join(users)));
    }
    Err(problems(report))
}

fn problems(report: Report) -> String {
    let errors = report.errors.into_inner();
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
