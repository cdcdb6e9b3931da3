//! One request to an introspection endpoint (RFC 7662 section 2.1).

use form_urlencoded::Serializer;
use reqwest::{Client, StatusCode, header};

use super::answer;
use super::client_auth::Prover;
use crate::claims::Claims;
use crate::config::IntrospectionSource;
use crate::decision::Credential;
use crate::http::{self, HttpError};

/// Why a request gave no answer. Says nothing of the token or of the client's secret (S5).
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("{0}")]
    Other(&'static str),
}

impl Problem {
    /// Whether another token may fare better, so that the issuer is none the worse for it.
    pub(super) fn is_of_the_token(&self) -> bool {
        match self {
            Self::Other(_) | Self::Http(HttpError::TooLarge(_)) => true,
            Self::Http(HttpError::Status(status)) => *status == StatusCode::BAD_REQUEST.as_u16(),
            Self::Http(_) => false,
        }
    }
}

/// Asks about the token, within the source's limits. The claims of one that is active.
pub(super) async fn request(
    client: &Client,
    source: &IntrospectionSource,
    prover: &Prover,
    token: Credential<'_>,
) -> Result<Option<Claims>, Problem> {
    let form = form(prover, token).map_err(Problem::Other)?;
    let mut request = client
        .post(&source.url)
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(form);
    let proof = prover.header().map_err(|_| Problem::Other("the client's secret cannot be sent in a header"))?;
    if let Some(proof) = proof {
        request = request.header(header::AUTHORIZATION, proof);
    }
    let body = tokio::time::timeout(source.timeout, http::body(request, source.max_body_size));
    let body = body.await.map_err(|_| HttpError::TimedOut)??;
    answer::read(&body).map_err(Problem::Other)
}

fn form(prover: &Prover, token: Credential<'_>) -> Result<String, &'static str> {
    let token = std::str::from_utf8(token.expose()).map_err(|_| "the token is not text")?;
    let mut form = Serializer::new(String::new());
    form.append_pair("token", token).append_pair("token_type_hint", "access_token");
    prover.add_to(&mut form)?;
    Ok(form.finish())
}
