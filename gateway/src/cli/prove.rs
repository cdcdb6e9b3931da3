//! `pgdog-jwt token prove`: a proof of claims for one server process, as the gateway would make it: to try policies by hand.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use pgdog_jwt::config::Secret;
use pgdog_jwt::proof::{Bound, ProofKey, SETTING, sign};
use serde_json::{Map, Value};

use super::{Failure, output, time};

#[derive(Debug, Args)]
#[command(after_help = "\
In psql, as the role that is to be proven:
  SELECT current_user, current_database(), pg_backend_pid(), jwt.backend_start();
then print the statement that proves the claims to that session:
  pgdog-jwt token prove --key-file proof.key --role alice --database app --pid 4242 --start 1795267196123456 \\
      --claims '{\"sub\": \"alice\", \"tenant_id\": \"acme\"}'")]
pub(super) struct Prove {
    /// File with the key
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// What the database calls the key
    #[arg(long, value_name = "ID", default_value = "1")]
    key_id: String,
    /// The role in effect
    #[arg(long)]
    role: String,
    /// What PostgreSQL calls the database
    #[arg(long)]
    database: String,
    /// The server process
    #[arg(long)]
    pid: i32,
    /// When it began, as jwt.backend_start() says
    #[arg(long)]
    start: i64,
    /// Life of the proof
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    expires_in: u32,
    /// A JSON object
    #[arg(long, value_name = "JSON")]
    claims: String,
}

impl Prove {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let claims: Map<String, Value> =
            serde_json::from_str(&self.claims).map_err(|error| format!("--claims is not a JSON object: {error}"))?;
        let text = std::fs::read_to_string(&self.key_file);
        let secret = text.map_err(|error| format!("{}: {error}", self.key_file.display()))?;
        let key =
            ProofKey::new(&self.key_id, Secret::new(secret.trim_end())).map_err(|error| format!("the key {error}"))?;
        let now = Duration::from_secs(time::now().unsigned_abs());
        let expires_at = UNIX_EPOCH + now + Duration::from_secs(self.expires_in.into());
        let bound = Bound { role: &self.role, database: &self.database, pid: self.pid, start: self.start, expires_at };
        output::line(format_args!("SET {SETTING} = '{}';", sign(&key, &bound, &claims)))?;
        Ok(())
    }
}
