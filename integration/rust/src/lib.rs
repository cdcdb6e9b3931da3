//! What the programs for the drivers share: where the gateway is, and a line of JSON for each check.
//!
//! A line is `{ "name": …, "error": null or text }`; the gateway is where `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD` and
//! `PGDATABASE` say. `CLIENTS` is how many clients may be there at once.

use std::env;
use std::error::Error;
use std::fmt::Debug;
use std::time::Duration;

use serde_json::json;

/// How long a check may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Why a check failed.
pub type Failure = Box<dyn Error + Send + Sync>;
/// What a check gives.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Where the gateway is, and who logs in there.
pub struct Place {
    /// Its address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The subject of the token.
    pub user: String,
    /// The token.
    pub password: String,
    /// The database.
    pub database: String,
    /// How many clients may be there at once.
    pub clients: usize,
}

impl Place {
    /// Reads the environment.
    ///
    /// # Errors
    ///
    /// A variable is missing, or is not a number where one is needed.
    pub fn from_env() -> Outcome<Self> {
        let read = |name: &str| env::var(name).map_err(|error| format!("{name}: {error}"));
        Ok(Self {
            host: read("PGHOST")?,
            port: read("PGPORT")?.parse()?,
            user: read("PGUSER")?,
            password: read("PGPASSWORD")?,
            database: read("PGDATABASE")?,
            clients: read("CLIENTS")?.parse()?,
        })
    }
}

/// Does a check and prints what came of it.
pub async fn check(name: &str, work: impl Future<Output = Outcome>) {
    let outcome = tokio::time::timeout(LIMIT, work).await;
    let error = match outcome {
        Ok(outcome) => outcome.err().map(|failure| format!("{failure} {failure:?}")),
        Err(_) => Some("no answer in time".to_owned()),
    };
    println!("{}", json!({ "name": name, "error": error }));
}

/// Fails unless both are equal.
///
/// # Errors
///
/// They are not; the text shows both.
pub fn same<T: PartialEq<U> + Debug, U: Debug>(found: T, wanted: U) -> Outcome {
    if found == wanted { Ok(()) } else { Err(format!("{found:?} instead of {wanted:?}").into()) }
}
