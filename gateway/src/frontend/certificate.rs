//! Client certificates. Which authority they come from is checked in the TLS handshake; here, who must show one. That is
//! asked before any password is, and said plainly: who lacks a certificate has nothing to learn from it.

use crate::config::{General, User};
use crate::net::stream::Stream;
use crate::net::tls::subject;
use crate::stats::Encryption;
use crate::wire::PgError;

/// The error for a client that must show a certificate and has shown none. What `users.toml` says of the user holds however the
/// client comes; the general setting spares Unix sockets, as `tls_client_required` does: they know no certificates.
pub(super) fn require(stream: &Stream, general: &General, user: Option<&User>) -> Result<(), PgError> {
    let in_general = general.tls_client_certificate_required && !matches!(stream, Stream::Unix(_));
    let required = user.and_then(|user| user.tls_client_certificate_required).unwrap_or(in_general);
    if !required || stream.peer_certificate().is_some() {
        return Ok(());
    }
    Err(PgError::fatal("28000", "connection requires a valid client certificate").hint(
        "Connect with TLS (sslmode=require or stronger), and name a certificate with sslcert and its key with sslkey.",
    ))
}

/// Who the client's certificate says it is.
pub(super) fn identity(stream: &Stream) -> Option<String> {
    stream.peer_certificate().and_then(|certificate| subject(certificate))
}

/// What is known of a client's TLS connection, if it is one.
pub(super) fn encryption(stream: &Stream) -> Option<Box<Encryption>> {
    let encryption = || Encryption { session: stream.tls_session(), certificate: identity(stream) };
    stream.is_tls().then(|| Box::new(encryption()))
}
