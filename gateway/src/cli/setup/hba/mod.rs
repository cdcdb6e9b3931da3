//! `pgdog-jwt setup hba`: the lines by which PostgreSQL lets the gateway in, for the identity mode that is configured.

mod names;
mod page;

use clap::Args;
use pgdog_jwt::config::{IdentityMode, Issuer};

use super::{Failure, Paths};
use crate::cli::output;
use crate::config::{Config, Jwt, LoginAuth, TlsVerify};
use crate::net::tls::common_name_in;
use names::{Roles, quoted};
use page::Page;

/// The name of the map in pg_ident.conf.
const MAP: &str = "pgdog_jwt";

/// The first version in which a map can name every role, and the first that knows OAuth.
const MAPS_TO_ALL: u32 = 16;
const KNOWS_OAUTH: u32 = 18;

#[derive(Debug, Args)]
#[command(after_help = "\
The lines go above those that are there, because the first one that fits counts. Then:
  SELECT pg_reload_conf();
  SELECT * FROM pg_hba_file_rules WHERE error IS NOT NULL;")]
pub(in crate::cli) struct Hba {
    /// Where the gateway connects from, as pg_hba.conf has it: an address with a mask, or a host name
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// A role whose members are the subjects: nobody else is let in
    #[arg(long, value_name = "ROLE", conflicts_with = "roles")]
    group: Option<String>,
    /// A subject; more than one makes a list
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Major version of PostgreSQL
    #[arg(long, value_name = "VERSION", default_value_t = 18)]
    postgres: u32,
    /// The operating system's user that runs the gateway, for Unix sockets
    #[arg(long, value_name = "USER", default_value = "pgdog-jwt")]
    os_user: String,
    /// What a token must allow, for mode = "passthrough"
    #[arg(long, value_name = "SCOPE", default_value = "openid")]
    scope: String,
}

impl Hba {
    pub(super) fn run(&self, paths: &Paths) -> Result<(), Failure> {
        output::print(format_args!("{}", self.text(&paths.load()?.config)?))?;
        Ok(())
    }

    fn text(&self, config: &Config) -> Result<String, Failure> {
        let jwt = config.jwt.as_ref().ok_or("\"auth_type\" is not \"jwt\": there are no subjects to let in")?;
        let mut page = Page::default();
        let uses = |mode| jwt.core.uses(mode);
        if uses(IdentityMode::Role) {
            self.role(config, jwt, &mut page)?;
        }
        if uses(IdentityMode::Login) {
            self.login(config, jwt, &mut page)?;
        }
        if uses(IdentityMode::Passthrough) {
            self.passthrough(config, jwt, &mut page)?;
        }
        if page.is_empty() {
            return Err("each account of mode = \"service_account\" logs in by its own password".into());
        }
        Ok(page.text())
    }

    fn role(&self, config: &Config, jwt: &Jwt, page: &mut Page) -> Result<(), Failure> {
        let account = jwt.core.server_user.as_deref().ok_or("\"jwt_server_user\" is not set")?;
        page.note("The account that all subjects share. Grant it their roles, WITH INHERIT FALSE, and nothing else.");
        let users = quoted(account)?;
        self.each_way(config, page, &users, "scram-sha-256", "scram-sha-256")
    }

    fn login(&self, config: &Config, jwt: &Jwt, page: &mut Page) -> Result<(), Failure> {
        let roles = self.roles(page)?;
        match jwt.login.auth {
            LoginAuth::Certificate => self.by_certificate(config, page, &roles),
            LoginAuth::Password => {
                page.note("The gateway logs in as each of these with login_password: give every one that password,");
                page.note("or write ldap, pam or radius for scram-sha-256, and hostssl for host.");
                self.each_way(config, page, &roles.users, "scram-sha-256", "scram-sha-256")
            }
            LoginAuth::Trust => {
                if config.databases.iter().any(|server| !server.is_unix()) && self.address.is_none() {
                    return Err(
                        "login_auth = \"trust\" lets in whoever comes from there: say where with --address".into()
                    );
                }
                page.note("Whoever can connect from there is whoever he says.");
                if config.databases.iter().any(|server| server.is_unix()) {
                    self.map(page, &roles, &quoted(&self.os_user)?)?;
                }
                self.each_way(config, page, &roles.users, "trust", &format!("peer map={MAP}"))
            }
        }
    }

    fn by_certificate(&self, config: &Config, page: &mut Page, roles: &Roles) -> Result<(), Failure> {
        let file = config.general.tls_server_certificate.as_deref().ok_or("\"tls_server_certificate\" is not set")?;
        let name = common_name_in(file)?.ok_or_else(|| format!("{}: has no common name", file.display()))?;
        page.setting("ssl = on");
        page.setting("ssl_ca_file = 'gateway-ca.crt'   # the authority that signed the gateway's certificate");
        if self.postgres < MAPS_TO_ALL && roles.list.is_empty() {
            page.note("Before PostgreSQL 16 a map cannot name every role, so every certificate of ssl_ca_file counts: it must");
            page.note("be an authority for the gateway alone. Or name the subjects with --role.");
            return self.each_way(config, page, &roles.users, "trust clientcert=verify-ca", "reject");
        }
        page.note("The gateway's certificate counts for each of these roles.");
        self.map(page, roles, &quoted(&name)?)?;
        self.each_way(config, page, &roles.users, &format!("cert map={MAP}"), "reject")
    }

    fn passthrough(&self, config: &Config, jwt: &Jwt, page: &mut Page) -> Result<(), Failure> {
        if self.postgres < KNOWS_OAUTH {
            return Err("mode = \"passthrough\" needs PostgreSQL 18".into());
        }
        let shows_tokens = |issuer: &&Issuer| jwt.core.may_be(issuer.issuer.as_deref(), IdentityMode::Passthrough);
        let issuer = jwt.core.issuers.iter().filter(shows_tokens).find_map(|issuer| issuer.issuer.as_deref());
        let issuer = issuer.ok_or("\"issuer\" in [jwt] is not set, and PostgreSQL must know whose tokens to take")?;
        let roles = self.roles(page)?;
        page.setting("oauth_validator_libraries = 'your_validator'   # checks the tokens");
        page.note(
            "The validator must find the role in the token; with a map= its identity goes by way of pg_ident.conf.",
        );
        let method = format!("oauth issuer={} scope={}", quoted(issuer)?, quoted(&self.scope)?);
        self.each_way(config, page, &roles.users, &method, &method)
    }

    fn roles(&self, page: &mut Page) -> Result<Roles, Failure> {
        let roles = Roles::new(&self.roles, self.group.as_deref())?;
        if roles.is_everybody() {
            page.note("All roles, superusers too: better name a group that the subjects are members of with --group.");
        } else {
            let users = &roles.users;
            page.note(
                "Nothing but these lines should let subjects in: a password that one gave itself outlives its token.",
            );
            page.note(&format!("Put behind them: local all {users} reject"));
            page.note(&format!("            and: host all {users} all reject"));
        }
        Ok(roles)
    }

    /// A line of pg_ident.conf for each role that `who` may be.
    fn map(&self, page: &mut Page, roles: &Roles, who: &str) -> Result<(), Failure> {
        if self.postgres < MAPS_TO_ALL && roles.list.is_empty() {
            return Err("before PostgreSQL 16 a map cannot name every role: name the subjects with --role".into());
        }
        for role in roles.mapped() {
            page.ident(MAP, who, role);
        }
        Ok(())
    }

    /// A line for TCP and one for Unix sockets, as far as the servers are reached by them.
    fn each_way(&self, config: &Config, page: &mut Page, users: &str, tcp: &str, unix: &str) -> Result<(), Failure> {
        let databases = |is_unix: bool| -> Result<Option<String>, Failure> {
            let mut names: Vec<String> = Vec::new();
            for server in config.databases.iter().filter(|server| server.is_unix() == is_unix) {
                let name = quoted(server.server_database())?;
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            Ok((!names.is_empty()).then(|| names.join(",")))
        };
        if let Some(databases) = databases(false)? {
            let address = self.address.as_deref().unwrap_or("samenet");
            if self.address.is_none() {
                page.note(
                    "samenet: whoever is on a network of the server. Better say where the gateway is with --address.",
                );
            }
            page.hba(kind(config, tcp), &databases, users, &quoted_address(address)?, tcp);
        }
        if let Some(databases) = databases(true)? {
            page.hba("local", &databases, users, "", unix);
        }
        Ok(())
    }
}

/// TLS is demanded where the gateway would not connect without it.
fn kind(config: &Config, method: &str) -> &'static str {
    let verifies = matches!(config.general.tls_verify, TlsVerify::VerifyCa | TlsVerify::VerifyFull);
    let shows_certificate = method.starts_with("cert ") || method.contains("clientcert");
    if verifies || shows_certificate { "hostssl" } else { "host" }
}

/// An address stands in the file as it is: it must be one word.
fn quoted_address(address: &str) -> Result<String, Failure> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".:/-_".contains(&byte);
    match !address.is_empty() && address.bytes().all(is_plain) {
        true => Ok(address.to_owned()),
        false => Err(format!("{address:?} is no address").into()),
    }
}

#[cfg(test)]
mod tests;
