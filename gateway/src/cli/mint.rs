//! `pgdog-jwt token mint`: tokens for development and tests, as an issuer would sign them.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use jsonwebtoken::{Algorithm, Header, encode};
use pgdog_jwt::config::Algorithm as Allowed;
use serde_json::{Map, Value, json};

use super::keys::SigningKey;
use super::{Failure, output, time};

#[derive(Debug, Args)]
#[command(after_help = "\
The token alone goes to standard output:
  PGPASSWORD=$(pgdog-jwt token mint --key keys/private.pem --sub alice --aud postgres) \\
      psql -h localhost -p 6432 -U alice app")]
pub(super) struct Mint {
    /// PEM file with a private key (PKCS#8; RSA, P-256, P-384 or Ed25519)
    #[arg(long, value_name = "FILE", required_unless_present = "new_key")]
    key: Option<PathBuf>,
    /// Make a key pair: writes private.pem, public.pem and jwks.json there. A private.pem that is there is used
    #[arg(long, value_name = "DIR", conflicts_with = "key")]
    new_key: Option<PathBuf>,
    /// Signature algorithm [default: what suits the key; ES256 for a new one]
    #[arg(long, value_parser = algorithm)]
    alg: Option<Algorithm>,
    /// Whom the token is about
    #[arg(long)]
    sub: Option<String>,
    /// For whom it is; more than one makes a list
    #[arg(long)]
    aud: Vec<String>,
    /// Who says so
    #[arg(long)]
    iss: Option<String>,
    /// Key id in the header; "" leaves it out [default: the thumbprint of the key]
    #[arg(long)]
    kid: Option<String>,
    /// Life of the token; negative makes one that has expired
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, allow_negative_numbers = true)]
    expires_in: i64,
    /// Another claim, as JSON or as text: --claim admin=true --claim email=a@example.com
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = claim)]
    claims: Vec<(String, Value)>,
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    let names = || Allowed::ALL.map(Allowed::name).join(", ");
    let allowed = Allowed::from_name(name).ok_or_else(|| format!("there are {}", names()))?;
    Algorithm::from_str(allowed.name()).map_err(|error| error.to_string())
}

fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    if name.is_empty() {
        return Err("the claim has no name".to_owned());
    }
    Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| Value::from(value))))
}

impl Mint {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let key = match (&self.key, &self.new_key) {
            (Some(path), _) => SigningKey::read(path, self.alg)?,
            (None, Some(folder)) if SigningKey::is_in(folder) => {
                let key = SigningKey::found(folder, self.alg)?;
                output::note(format_args!(
                    "{} has a key already: it is used, and no new one was made",
                    folder.display()
                ));
                key
            }
            (None, Some(folder)) => {
                let key = SigningKey::generate(self.alg.unwrap_or(Algorithm::ES256))?;
                key.write(folder)?;
                output::note(format_args!("wrote private.pem, public.pem and jwks.json to {}", folder.display()));
                key
            }
            (None, None) => return Err("name a key with --key or --new-key".into()),
        };
        let describes_somebody = self.sub.is_some() || !self.claims.is_empty();
        if describes_somebody {
            output::line(format_args!("{}", self.token(&key)?))?;
        } else if self.new_key.is_none() {
            return Err("say whom the token is about with --sub or --claim".into());
        }
        Ok(())
    }

    fn token(&self, key: &SigningKey) -> Result<String, Failure> {
        let mut header = Header::new(key.algorithm);
        header.kid = self.kid.clone().or_else(|| key.jwk.common.key_id.clone()).filter(|kid| !kid.is_empty());
        Ok(encode(&header, &self.payload(), &key.key)?)
    }

    /// `--claim` has the last word, so that any token can be made.
    fn payload(&self) -> Map<String, Value> {
        let now = time::now();
        let mut payload = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            value.map(|value| payload.insert(name.to_owned(), value));
        };
        set("iss", self.iss.as_deref().map(Value::from));
        set("sub", self.sub.as_deref().map(Value::from));
        set(
            "aud",
            match self.aud.as_slice() {
                [] => None,
                [one] => Some(json!(one)),
                several => Some(json!(several)),
            },
        );
        set("iat", Some(json!(now.min(now.saturating_add(self.expires_in)))));
        set("exp", Some(json!(now.saturating_add(self.expires_in))));
        set("jti", Some(json!(format!("{:032x}", rand::random::<u128>()))));
        for (name, value) in &self.claims {
            set(name, Some(value.clone()));
        }
        payload
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use clap::Parser;
    use jsonwebtoken::{DecodingKey, Validation, decode};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        mint: Mint,
    }

    fn mint(arguments: &[&str]) -> Mint {
        Line::try_parse_from(std::iter::once("mint").chain(arguments.iter().copied())).expect("valid arguments").mint
    }

    #[test]
    fn a_minted_token_verifies_with_the_written_public_key() {
        for allowed in Allowed::ALL {
            let folder = tempfile::tempdir().expect("a folder");
            let algorithm = algorithm(allowed.name()).expect("a known name");
            SigningKey::generate(algorithm).and_then(|key| key.write(folder.path())).expect("written");
            let path = folder.path().join("private.pem");
            let mint = mint(&["--key", "-", "--sub", "alice", "--aud", "postgres", "--claim", "admin=true"]);

            let key = SigningKey::read(&path, Some(algorithm)).expect("a key");
            let token = mint.token(&key).expect("a token");

            let jwks: jsonwebtoken::jwk::JwkSet =
                serde_json::from_slice(&std::fs::read(folder.path().join("jwks.json")).expect("a file"))
                    .expect("a set");
            let public = std::fs::read(folder.path().join("public.pem")).expect("a file");
            let from_pem = match algorithm {
                Algorithm::ES256 | Algorithm::ES384 => DecodingKey::from_ec_pem(&public),
                Algorithm::EdDSA => DecodingKey::from_ed_pem(&public),
                _ => DecodingKey::from_rsa_pem(&public),
            };
            let from_set = DecodingKey::from_jwk(&jwks.keys[0]);
            let mut validation = Validation::new(algorithm);
            validation.set_audience(&["postgres"]);
            for public in [from_pem.expect("a public key"), from_set.expect("a public key")] {
                let data = decode::<Map<String, Value>>(&token, &public, &validation).expect("a valid token");
                assert_eq!(data.header.kid, jwks.keys[0].common.key_id);
                assert_eq!(data.claims["sub"], "alice");
                assert_eq!(data.claims["admin"], true);
            }
        }
    }

    #[test]
    fn the_private_key_is_for_its_owner_and_is_never_overwritten() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let key = SigningKey::generate(Algorithm::ES256).expect("a key");
        key.write(folder.path()).expect("written");
        let mode = std::fs::metadata(folder.path().join("private.pem")).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(key.write(folder.path()).is_err());
    }

    #[test]
    fn a_key_signs_only_with_its_own_algorithms() {
        let folder = tempfile::tempdir().expect("a folder");
        SigningKey::generate(Algorithm::ES256).and_then(|key| key.write(folder.path())).expect("written");
        let path = folder.path().join("private.pem");
        assert!(SigningKey::read(&path, Some(Algorithm::RS256)).is_err());
        assert!(SigningKey::read(&folder.path().join("public.pem"), None).is_err());
        assert_eq!(SigningKey::read(&path, None).map(|key| key.algorithm).ok(), Some(Algorithm::ES256));
    }

    #[test]
    fn claims_are_json_or_text_and_go_last() {
        let mint = mint(&[
            "--key",
            "k",
            "--sub",
            "alice",
            "--claim",
            "sub=bob",
            "--claim",
            "roles=[\"a\"]",
            "--expires-in",
            "-5",
        ]);
        let payload = mint.payload();
        assert_eq!(payload["sub"], "bob");
        assert_eq!(payload["roles"], json!(["a"]));
        assert!(payload["exp"].as_i64().expect("a number") < time::now());
        let ids: HashSet<_> = (0..10).map(|_| mint.payload()["jti"].to_string()).collect();
        assert_eq!(ids.len(), 10);
    }
}
