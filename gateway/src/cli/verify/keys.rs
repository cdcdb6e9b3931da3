//! A policy from the command line: one issuer, whose keys are in a file.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use pgdog_jwt::Authenticator;
use pgdog_jwt::config::{Algorithm, Issuer, JwtConfig, KeySource};

use super::{MAX_INPUT, Verify};
use crate::cli::Failure;

/// Who decides by these keys; `None` when the command line names none.
pub(super) fn authenticator(verify: &Verify) -> Result<Option<Arc<Authenticator>>, Failure> {
    let keys = match (&verify.jwks, &verify.pem) {
        (Some(path), _) => KeySource::JwksInline(read(path)?),
        (None, Some(path)) => KeySource::PemFiles(vec![path.clone()]),
        (None, None) => return Ok(None),
    };
    let mut issuer = Issuer::new(keys);
    issuer.issuer.clone_from(&verify.issuer);
    issuer.audiences.clone_from(&verify.audience);
    issuer.username_claim.clone_from(&verify.username_claim);
    issuer.algorithms = match verify.alg.as_slice() {
        [] => Algorithm::ALL.to_vec(),
        some => some.to_vec(),
    };
    Ok(Some(Arc::new(Authenticator::new(JwtConfig::new(vec![issuer]))?)))
}

fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let file = File::open(path).and_then(|file| file.take(MAX_INPUT).read_to_string(&mut text));
    file.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(text)
}
