//! The page that `explain` prints. It shows what the token says, and nothing that would let anybody in (S5).

use std::fmt::{Result, Write};

use pgdog_jwt::AuthGrant;
use pgdog_jwt::config::IdentityMode;
use pgdog_jwt::token;
use pgdog_jwt_guard::Account;
use serde_json::Value;

use crate::backend::cluster::Membership;
use crate::backend::identity::Identity;
use crate::backend::identity_sql::{steps, who};
use crate::backend::nonce::Nonce;
use crate::backend::settings::Settings;
use crate::backend::sql::Sql;
use crate::cli::time;
use crate::config::{Choice, Config, Guard};
use crate::frontend::rehearsal::{Admitted, Rehearsal};

/// What stands for a proof, which is made for one server process and is a secret while it counts.
const PROOF: &str = "…";

/// The page.
pub(super) fn page(config: &Config, user: &str, database: &str, token: &str, rehearsal: &Rehearsal) -> String {
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut page, config, (user, database), token, rehearsal);
    page
}

fn write(page: &mut String, config: &Config, asked: (&str, &str), token: &str, rehearsal: &Rehearsal) -> Result {
    let (user, database) = asked;
    line(page, "login", &format!("user \"{user}\", database \"{database}\""))?;
    said(page, token)?;
    preset(page, config, token)?;
    writeln!(page, "\nchecks")?;
    for step in &rehearsal.steps {
        let (mark, text) = match &step.outcome {
            Ok(found) => ('✓', found.clone()),
            Err(reason) => ('✗', reason.to_string()),
        };
        line(page, &format!("  {mark} {}", step.check.label()), &text)?;
    }
    match &rehearsal.outcome {
        Ok(admitted) => {
            line(page, "  ✓ pool", "there is one, or one would be made")?;
            session(page, config, admitted)?;
            writeln!(page, "\nlet in, as far as the gateway can tell; PostgreSQL has the last word about the role")
        }
        Err(refusal) => {
            if rehearsal.steps.last().is_none_or(|step| step.outcome.is_ok()) {
                line(page, "  ✗ login", &refusal.detail)?;
            }
            writeln!(page)?;
            line(page, "refused", &format!("{}: {}", refusal.reason, refusal.detail))
        }
    }
}

/// What the token says of itself, which nobody has vouched for yet.
fn said(page: &mut String, token: &str) -> Result {
    writeln!(page, "\ntoken, as it says itself")?;
    let Ok(inspection) = token::inspect(token) else {
        return line(page, "  form", "not a JWT");
    };
    for name in ["alg", "kid", "typ"] {
        field(page, name, &inspection.header)?;
    }
    for name in ["iss", "aud", "sub"] {
        field(page, name, &inspection.claims)?;
    }
    let now = time::now();
    for name in ["iat", "nbf", "exp"] {
        let value = inspection.claims.get(name);
        // NumericDate may have a fraction (RFC 7519 section 2).
        let seconds = value.and_then(|value| value.as_i64().or(value.as_f64().map(|number| number as i64)));
        match seconds.and_then(|seconds| Some((seconds, time::date(seconds)?))) {
            Some((seconds, date)) => {
                line(page, &format!("  {name}"), &format!("{date} ({})", time::distance(seconds, now)))?;
            }
            None => field(page, name, &inspection.claims)?,
        }
    }
    Ok(())
}

/// What the configuration has not said itself of the token's issuer.
fn preset(page: &mut String, config: &Config, token: &str) -> Result {
    let claims = token::inspect(token).ok().map(|inspection| inspection.claims);
    let issuer = claims.as_ref().and_then(|claims| claims.get("iss")).and_then(Value::as_str);
    match config.jwt.as_ref().and_then(|jwt| jwt.preset_of(issuer)) {
        None => Ok(()),
        Some(filled) => {
            writeln!(page, "\nissuer")?;
            line(page, "  preset", &filled.text())
        }
    }
}

fn field(page: &mut String, name: &str, object: &Value) -> Result {
    match object.get(name) {
        None => Ok(()),
        Some(Value::String(text)) => line(page, &format!("  {name}"), text),
        Some(other) => line(page, &format!("  {name}"), &other.to_string()),
    }
}

/// What the gateway would do for the session.
fn session(page: &mut String, config: &Config, admitted: &Admitted) -> Result {
    let Admitted { who, pools } = admitted;
    let identity = pools.identity();
    writeln!(page, "\nsession")?;
    if let Some(grant) = who.grant() {
        line(page, "  subject", &grant.subject)?;
        line(page, "  mode", mode(grant))?;
    }
    // Without a role of its own, it is whoever logs in.
    let login = pools.spec.pools.first().map(|pool| pool.user.as_str());
    line(page, "  role", identity.role.as_deref().or(login).unwrap_or_default())?;
    let privileged = if identity.allow_privileged { "allowed" } else { "refused" };
    line(page, "  SUPERUSER", &format!("{privileged}, and BYPASSRLS as well"))?;
    let access = if identity.read_only { "read-only, never on a primary" } else { "read-write" };
    line(page, "  access", access)?;
    let watch = who.watch(config, identity.read_only);
    let guard = match (watch.is_guarded(), config.jwt.as_ref().map(|jwt| jwt.guard)) {
        (false, _) => "not needed",
        (true, Some(Guard::Standard)) => "standard",
        (true, _) => "strict",
    };
    line(page, "  guard", guard)?;
    if watch.account == Account::Shared {
        line(page, "  account", "of several subjects or tenants: none of them may change it")?;
    }
    if let Some(tenant) = who.tenant() {
        line(page, "  tenant", tenant)?;
    }
    if let Some(most) = who.grant().and_then(|grant| grant.max_connections) {
        line(page, "  sessions", &format!("up to {most} of this user"))?;
    }
    for (name, value) in identity.variables.iter() {
        line(page, "  variable", &format!("{name} = {value}"))?;
    }
    let proven = identity.proven.as_ref().map(|proven| format!("proven to the database with key {}", proven.key_id()));
    line(page, "  claims", proven.as_deref().unwrap_or("not proven to the database"))?;
    if let Some(settings) = config.jwt.as_ref().and_then(|jwt| jwt.provisioning.as_ref()) {
        line(page, "  roles", &format!("made or changed first where that is needed, by {}", settings.admin_user))?;
    }
    pool(page, pools)?;
    sql(page, pools)
}

fn mode(grant: &AuthGrant) -> &'static str {
    match grant.mode {
        IdentityMode::Role => "role",
        IdentityMode::Login => "login",
        IdentityMode::ServiceAccount => "service_account",
        IdentityMode::Passthrough => "passthrough",
    }
}

fn pool(page: &mut String, pools: &Membership) -> Result {
    writeln!(page, "\npool")?;
    line(page, "  database", &pools.key.database)?;
    line(page, "  name", &pools.key.user)?;
    let whose = match pools.spec.shared {
        true => "shared: identities follow the sessions",
        false => "of this user alone",
    };
    line(page, "  use", whose)?;
    line(page, "  mode", pools.mode.word())?;
    for pool in &pools.pools {
        let size = pool.spec.size;
        line(page, "  server", &format!("{}, up to {size} connections", pool.node.address))?;
    }
    Ok(())
}

/// What a server connection hears before it is the session's.
fn sql(page: &mut String, pools: &Membership) -> Result {
    let Some(pool) = pools.spec.pools.first() else { return Ok(()) };
    let identity = pools.identity();
    writeln!(page, "\nserver connection")?;
    line(page, "  user", &pool.user)?;
    line(page, "  database", &pool.database)?;
    for (name, value) in pool.startup_parameters() {
        line(page, "  start-up", &format!("{name} = {value}"))?;
    }
    let proof = identity.proven.as_ref().map(|_| PROOF);
    if *identity == pool.identity {
        line(page, "  SQL, new", &who(&Nonce::shown()).to_string())?;
    } else {
        line(page, "  SQL", &becoming(identity, proof, false))?;
    }
    if pools.spec.shared {
        line(page, "  SQL, used", &becoming(identity, proof, true))?;
    }
    Ok(())
}

/// What makes a connection the identity, with the values in place of the parameters that they are sent as.
fn becoming(identity: &Identity, proof: Option<&str>, cleans: bool) -> String {
    let (settings, nonce) = (Settings::default(), Nonce::shown());
    let steps = steps(identity, proof, cleans, &settings);
    steps.iter().chain([&who(&nonce)]).map(Sql::to_string).collect::<Vec<_>>().join(";")
}

/// One line, whatever is in the text: control characters would let a token write on its own.
fn line(page: &mut String, label: &str, text: &str) -> Result {
    let width = 17;
    write!(page, "{label:<width$} ")?;
    for character in text.chars() {
        if is_plain(character) {
            page.push(character);
        } else {
            write!(page, "{}", character.escape_default())?;
        }
    }
    page.push('\n');
    Ok(())
}

/// Neither a control character nor one that changes the direction of what follows.
fn is_plain(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_cannot_write_lines_of_its_own() {
        let mut page = String::new();
        line(&mut page, "  sub", "a\nlet in\u{1b}[2K\u{202e}é").expect("a string");
        assert_eq!(page, format!("{:<17} a\\nlet in\\u{{1b}}[2K\\u{{202e}}é\n", "  sub"));
    }
}
