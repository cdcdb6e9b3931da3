//! From the configuration to socket and TLS options.

use super::TcpOptions;
use super::tls::client::TlsMode;
use super::tls::{ClientTls, TlsError};
use crate::config::{General, Tcp, TlsVerify};

impl From<&Tcp> for TcpOptions {
    fn from(tcp: &Tcp) -> Self {
        Self {
            keepalive: tcp.keepalive,
            time: tcp.time,
            interval: tcp.interval,
            retries: tcp.retries,
            user_timeout: tcp.user_timeout,
            congestion_control: tcp.congestion_control.clone(),
        }
    }
}

impl ClientTls {
    /// As `tls_verify` and `tls_server_*` say.
    pub(crate) fn from_config(general: &General) -> Result<Self, TlsError> {
        let mode = match general.tls_verify {
            TlsVerify::Disabled => TlsMode::Disabled,
            TlsVerify::Prefer => TlsMode::Prefer,
            TlsVerify::VerifyCa => TlsMode::VerifyCa,
            TlsVerify::VerifyFull => TlsMode::VerifyFull,
        };
        let identity = general.tls_server_certificate.as_deref().zip(general.tls_server_private_key.as_deref());
        Self::new(mode, general.tls_server_ca_certificate.as_deref(), identity)
    }
}
