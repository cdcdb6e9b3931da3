//! `pgdog-jwt check`: is the configuration right, and what does it mean?

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use pgdog_jwt::config::KeySource;

use super::{Paths, summary};
use crate::config::{Config, PasswordSource};

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
    if let Some(PasswordSource::File(path)) = provisioning.map(|settings| &settings.admin_password) {
        files.push(("admin_password_file", path.as_path()));
    }
    for issuer in config.jwt.iter().flat_map(|jwt| &jwt.core.issuers) {
        if let KeySource::PemFiles(paths) = &issuer.keys {
            files.extend(paths.iter().map(|path| ("jwt_public_key_file", path.as_path())));
        }
    }
    let unreadable = |(key, path): (&str, &Path)| {
        File::open(path).err().map(|error| format!("\"{key}\": {} cannot be read: {error}", path.display()))
    };
    files.into_iter().filter_map(unreadable).collect()
}
