//! `pgdog-jwt token inspect`: what a token says. Nothing is checked, and the output says so.

use std::io::{Read, stdin};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use serde_json::{Map, Value, json};

use super::{Failure, output, time};

/// More than any token; keeps a wrong file from filling memory.
const MAX_INPUT: u64 = 1024 * 1024;

type Object = Map<String, Value>;

#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// The token; "-" reads it from standard input, which keeps it out of the shell's history
    #[arg(default_value = "-")]
    token: String,
}

impl Inspect {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let text = if self.token == "-" { from_stdin()? } else { self.token.clone() };
        let (header, claims) = decode(text.trim())?;
        output::line(format_args!(
            "{}",
            serde_json::to_string_pretty(&json!({ "header": header, "claims": claims }))?
        ))?;
        for line in times(&claims, time::now()) {
            output::note(format_args!("{line}"));
        }
        output::note(format_args!("signature not checked"));
        Ok(())
    }
}

fn from_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    stdin().lock().take(MAX_INPUT).read_to_string(&mut text)?;
    Ok(text)
}

/// Header and claims of a compact JWS (RFC 7515 section 7.1).
fn decode(token: &str) -> Result<(Object, Object), Failure> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, _signature] = parts.as_slice() else {
        return Err(format!("not a signed token: it has {} of three parts", parts.len()).into());
    };
    Ok((object("header", header)?, object("claims", claims)?))
}

fn object(name: &str, part: &str) -> Result<Object, Failure> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| format!("the {name} is not base64url"))?;
    serde_json::from_slice(&bytes).map_err(|_| format!("the {name} is not a JSON object").into())
}

/// One line for each point in time.
fn times(claims: &Object, now: i64) -> Vec<String> {
    let names = [("iat", "issued"), ("nbf", "valid from"), ("exp", "expires")];
    let line = |(claim, meaning): (&str, &str)| {
        // NumericDate may have a fraction (RFC 7519 section 2).
        let seconds =
            claims.get(claim).and_then(|value| value.as_i64().or(value.as_f64().map(|number| number as i64)))?;
        let date = time::date(seconds)?;
        Some(format!("{meaning:<10} {date} ({})", time::distance(seconds, now)))
    };
    let mut lines: Vec<String> = names.into_iter().filter_map(line).collect();
    if claims.get("exp").is_none() {
        lines.push("expires    never: a gateway refuses a token without \"exp\"".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_decoded_without_its_key() {
        // {"alg":"none"} and {"sub":"alice","exp":60}
        let (header, claims) = decode("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImV4cCI6NjB9.").expect("a token");
        assert_eq!(header["alg"], "none");
        assert_eq!(claims["sub"], "alice");
        assert_eq!(times(&claims, 0), ["expires    1970-01-01 00:01:00 UTC (in 60 s)"]);
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_repeated() {
        for text in ["", "hunter2", "a.b", "a.b.c", "e30.e30", "W10.e30.", "e30.e30.e30.e30.e30"] {
            let error = decode(text).expect_err("no token").to_string();
            assert!(text.is_empty() || !error.contains(text) || text == "a.b", "{error}");
        }
    }
}
