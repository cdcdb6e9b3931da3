//! An issuer, a folder with configuration files, and a loader that calls the object as PgDog's hook does.

#![allow(dead_code, reason = "not every file of tests needs all of it")]

pub(crate) mod loader;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ED25519};
use serde_json::{Value, json};

static KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate_for(&PKCS_ED25519).unwrap());

/// What every configuration here has.
pub(crate) const GENERAL: &str = "[general]\nauth_type = \"jwt\"\njwt_public_key_file = \"KEY\"\njwt_audience = \"app\"\n\
                           jwt_server_user = \"gate\"\njwt_server_password = \"geheim-gate\"\n";
/// Pools for everybody.
pub(crate) const PROVISION: &str = "jwt_user_auto_provision = true\n";
/// What every configuration must say.
pub(crate) const JWT: &str = "[jwt]\non_expiry = \"ignore\"\n";

/// A folder for configuration files.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    /// With the issuer's key, and the smallest configuration that lets everybody in.
    pub(crate) fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("key.pem", &KEY.public_key_pem());
        folder.configure(&format!("{GENERAL}{PROVISION}{JWT}"));
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts a file in the place of another, at once.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let new = self.path("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.path(name)).unwrap();
    }

    /// Writes the plugin's file. `KEY` stands for the path of the issuer's key.
    pub(crate) fn configure(&self, text: &str) {
        self.write("plugin.toml", &text.replace("KEY", &self.path("key.pem").display().to_string()));
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("plugin.toml")
    }
}

/// The object, with a configuration.
pub(crate) fn loaded(folder: &Folder) -> loader::Loaded {
    let plugin = loader::Loaded::new();
    assert!(plugin.configure(&folder.config()));
    plugin
}

/// A token of a subject, with further claims; null takes one away.
pub(crate) fn token(subject: &str, further: Value) -> String {
    let mut claims = json!({ "sub": subject, "aud": "app", "exp": now() + 600, "iat": now() });
    for (name, value) in further.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    let key = EncodingKey::from_ed_der(&KEY.serialize_der());
    jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &key).unwrap()
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The object that is tested: cargo puts it beside the program of the test.
fn object() -> PathBuf {
    let folder = std::env::current_exe().unwrap();
    let name = format!("{}pgdog_jwt_plugin{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    Path::new(&folder).parent().unwrap().join(name)
}
