//! A gateway with tokens of its own and a server behind it, all on one thread.

pub(crate) mod exchanges;
pub(crate) mod postgres;

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use pgdog_jwt_gateway::bench::{Failure, Gateway};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use tokio::runtime::{Builder, Runtime};

pub(crate) const DATABASE: &str = "app";

/// Ends with its runtime.
pub(crate) struct Setup {
    pub(crate) runtime: Runtime,
    pub(crate) gateway: Gateway,
    key: EncodingKey,
    /// Keys and sockets.
    _folder: tempfile::TempDir,
}

impl Setup {
    /// With one pool that all subjects share, or one for each, of so many servers.
    pub(crate) fn new(shared: bool, pool_size: usize) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let public = folder.path().join("public.pem");
        std::fs::write(&public, pair.public_key_pem())?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { postgres::start(folder.path()) })?;
        let gateway = Gateway::new(
            &format!(
                r#"
                [general]
                auth_type = "jwt"
                jwt_public_key_file = "{public}"
                jwt_audience = "database"
                jwt_server_user = "{account}"
                jwt_user_auto_provision = true
                default_pool_size = {pool_size}

                [jwt]
                algorithms = ["ES256"]
                shared_pool = {shared}

                [jwt.session.variables]
                "app.tenant_id" = "{{tenant_id}}"
                "app.user_id" = "{{sub}}"
                "app.roles" = {{ value = "{{roles|csv}}", type = "csv" }}
                "app.region" = "{{region}}"

                [[databases]]
                name = "{DATABASE}"
                host = "{host}"
                "#,
                public = public.display(),
                account = postgres::ACCOUNT,
                host = folder.path().display(),
            ),
            "",
        )?;
        let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes())?;
        Ok(Self { runtime, gateway, key, _folder: folder })
    }

    /// A token as issuers make them.
    pub(crate) fn token(&self, subject: &str) -> Result<String, Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let claims = serde_json::json!({
            "sub": subject, "aud": "database", "iat": now, "exp": now + 36_000, "tenant_id": format!("tenant of {subject}"),
            "roles": ["reader", "writer"], "region": "eu-central-1", "azp": "console", "scope": "openid profile email",
        });
        Ok(jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &self.key)?)
    }
}
