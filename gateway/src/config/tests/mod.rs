//! What the loader takes, refuses and says.

mod audit;
mod client_flow;
mod documents;
mod files;
mod identities;
mod identity;
mod introspection;
mod issuers;
mod key_sources;
mod life;
mod limits;
mod presets;
mod proof;
mod protection;
mod provisioning;
mod secrets;
mod sections;
mod session;
mod shared;
mod tenants;
mod tokens;

use std::collections::HashMap;

use super::*;

/// A configuration with the least that it needs.
const SERVER: &str = "[[databases]]\nname = \"app\"\nhost = \"127.0.0.1\"\n";
/// The same with token users.
const TOKENS: &str = "[general]\nauth_type = \"jwt\"\njwt_public_key_file = \"public.pem\"\njwt_audience = \"db\"\n\
                      jwt_server_user = \"gateway\"\n[[databases]]\nname = \"app\"\nhost = \"127.0.0.1\"\n";

fn load_with(pgdog: &str, users: &str, env: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let env: HashMap<_, _> = env.iter().copied().collect();
    let pgdog = Text { name: "pgdog.toml", text: pgdog };
    let users = Text { name: "users.toml", text: users };
    Config::from_texts(pgdog, users, &|name| env.get(name).map(|value| (*value).to_owned()))
}

fn load(pgdog: &str, users: &str) -> Loaded {
    load_with(pgdog, users, &[]).unwrap_or_else(|error| panic!("{error}"))
}

fn errors(pgdog: &str, users: &str) -> Vec<String> {
    let error = load_with(pgdog, users, &[]).expect_err("a refused configuration");
    error.to_string().lines().map(str::to_owned).collect()
}

fn error(pgdog: &str, users: &str) -> String {
    let errors = errors(pgdog, users);
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.into_iter().next().unwrap_or_default()
}

fn warnings(loaded: &Loaded) -> Vec<String> {
    loaded.warnings.iter().map(ToString::to_string).collect()
}
