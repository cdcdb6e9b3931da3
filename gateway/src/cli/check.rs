//! `pgdog-jwt check`: is the configuration right, and what does it mean?

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use pgdog_jwt::config::{ClientAuth, KeySource};

use super::{Paths, summary};
use crate::config::{Config, SecretSource};

/// Prints warnings and errors on standard error, the meaning on standard output.
pub(super) fn check(paths: &Paths) -> ExitCode {
    let loaded = match paths.load() {
        Ok(loaded) => loaded,
        Err(error) => {
            for problem in &error.problems {
                eprintln!("error: {problem}");
            }
            return ExitCode::FAILURE;
        }
    };
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    let unreadable = unreadable_files(&loaded.config);
    for reason in &unreadable {
        eprintln!("error: {}: {reason}", paths.config.display());
    }
    if !unreadable.is_empty() {
        return ExitCode::FAILURE;
    }
    print!("{}", summary::summary(&loaded.config));
    ExitCode::SUCCESS
}

/// Certificates and keys that the configuration names and that this user cannot read.
fn unreadable_files(config: &Config) -> Vec<String> {
    let general = &config.general;
    let mut files: Vec<(&str, &Path)> = [
        ("tls_certificate", &general.tls_certificate),
        ("tls_private_key", &general.tls_private_key),
        ("tls_client_ca_certificate", &general.tls_client_ca_certificate),
        ("tls_server_ca_certificate", &general.tls_server_ca_certificate),
        ("tls_server_certificate", &general.tls_server_certificate),
        ("tls_server_private_key", &general.tls_server_private_key),
    ]
    .into_iter()
    .filter_map(|(key, path)| path.as_deref().map(|path| (key, path)))
    .collect();
    let provisioning = config.jwt.as_ref().and_then(|jwt| jwt.provisioning.as_ref());
    if let Some(SecretSource::File(path)) = provisioning.map(|settings| &settings.admin_password) {
        files.push(("admin_password_file", path.as_path()));
    }
    for issuer in config.jwt.iter().flat_map(|jwt| &jwt.core.issuers) {
        match &issuer.keys {
            KeySource::PemFiles(paths) => {
                files.extend(paths.iter().map(|path| ("jwt_public_key_file", path.as_path())));
            }
            KeySource::PemDirectory(path) => files.push(("key_directory", path)),
            KeySource::JwksFile(path) => files.push(("jwks_file", path)),
            KeySource::Jwks(source) | KeySource::Discovery(source) => {
                files.extend(source.ca_file.as_deref().map(|path| ("jwks_ca_file", path)));
                files.extend(source.bearer_token_file.as_deref().map(|path| ("jwks_bearer_token_file", path)));
            }
            KeySource::JwksInline(_) | KeySource::None => {}
        }
        if let Some(source) = &issuer.introspection {
            files.extend(source.ca_file.as_deref().map(|path| ("jwks_ca_file", path)));
            if let ClientAuth::PrivateKey(key) = &source.client_auth {
                files.push(("introspection_client_key_file", key.file.as_path()));
            }
        }
    }
    let unreadable = |(key, path): (&str, &Path)| {
        File::open(path).err().map(|error| format!("\"{key}\": {} cannot be read: {error}", path.display()))
    };
    files.into_iter().filter_map(unreadable).chain(broken_revocations(config)).collect()
}

/// A list of revocations that the gateway would not start with.
fn broken_revocations(config: &Config) -> Option<String> {
    let core = &config.jwt.as_ref()?.core;
    let path = core.revocation_file.as_deref()?;
    let problem = pgdog_jwt::revocation::check_file(path, core).err()?;
    Some(format!("\"revocation_file\": {}: {problem}", path.display()))
}
