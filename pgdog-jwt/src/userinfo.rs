//! Groups from an issuer's userinfo endpoint (OpenID Connect Core 1.0, section 5.3), for tokens that do not name them.
//!
//! - Asked only with a token that was verified, and only at the issuer that the token is from.
//! - The answer must be about the token's subject: section 5.3.2 has the client compare `sub`, since it may be anybody's.
//! - One request for one token, however many logins wait; a few for all tokens together; no wait longer than `timeout`.
//! - Answers are found by a keyed hash of the token, as verified tokens are (see `cache`), and limited in number. A failure
//!   counts for a moment as well, so that an issuer that is down is not asked by every login.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use lru::LruCache;
use parking_lot::Mutex;
use reqwest::{Client, header};
use tokio::sync::{OnceCell, Semaphore};

use crate::config::{Fault, GroupSource, Issuer, UserinfoSource, printable};
use crate::decision::{Credential, Groups};
use crate::deny::DenyReason;
use crate::http::{self, HttpError};
use crate::json::parse_object;
use crate::{claims, groups};

/// Requests to one issuer at a time.
const MAX_REQUESTS: usize = 16;
/// By how much a wait may be longer than a request, so that a request that took too long is written down as such.
const GRACE: Duration = Duration::from_millis(100);
/// How long a failure counts.
const FAILURE_TTL: Duration = Duration::from_secs(2);

/// Stands for one token. It has no `Debug` (S5).
#[derive(PartialEq, Eq, Hash)]
struct Fingerprint([u8; 32]);

/// What a request came back with, once it has.
struct Answer {
    outcome: OnceCell<(Result<Groups, String>, Instant)>,
}

/// The endpoint of one issuer.
pub(crate) struct Userinfo {
    claim: String,
    source: UserinfoSource,
    client: Client,
    key: hmac::Key,
    answers: Mutex<LruCache<Fingerprint, Arc<Answer>>>,
    requests: Semaphore,
}

/// The endpoint of an issuer, if it has one: the known one where nothing has changed.
pub(crate) fn open(issuer: &Issuer, known: &[Option<Arc<Userinfo>>]) -> Result<Option<Arc<Userinfo>>, Fault> {
    let Some(GroupSource { claim, userinfo: Some(source) }) = &issuer.groups else {
        return Ok(None);
    };
    if let Some(known) = known.iter().flatten().find(|known| known.claim == *claim && known.source == *source) {
        return Ok(Some(known.clone()));
    }
    let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
        .map_err(|_| Fault::System("the system has no random numbers to give".to_owned()))?;
    Ok(Some(Arc::new(Userinfo {
        claim: claim.clone(),
        client: http::client(&source.url, source.connect_timeout, source.timeout)?,
        source: source.clone(),
        key,
        answers: Mutex::new(LruCache::unbounded()),
        requests: Semaphore::new(MAX_REQUESTS),
    })))
}

impl Userinfo {
    /// The groups of the subject of a verified token.
    pub(crate) async fn groups(&self, token: Credential<'_>, subject: &str) -> Result<Groups, DenyReason> {
        let unavailable = |reason: &str| DenyReason::GroupsUnavailable(reason.to_owned());
        let token = token.expose();
        let mut fingerprint = [0; 32];
        hmac::sign_to_buffer(&self.key, token, &mut fingerprint).map_err(|_| unavailable("no keyed hash"))?;
        let answer = self.answer(Fingerprint(fingerprint));
        let outcome = answer.outcome.get_or_init(|| async {
            let outcome = tokio::time::timeout(self.source.timeout, self.ask(token, subject)).await;
            (outcome.unwrap_or_else(|_| Err(HttpError::TimedOut.to_string())), Instant::now())
        });
        // Whoever asks first may give up, and then the next one begins anew.
        match tokio::time::timeout(self.source.timeout.saturating_add(GRACE), outcome).await {
            Ok((Ok(groups), _)) => Ok(groups.clone()),
            Ok((Err(reason), _)) => Err(unavailable(reason)),
            Err(_) => Err(unavailable(&HttpError::TimedOut.to_string())),
        }
    }

    /// The place of a token's answer: a new one when there is none that still counts.
    fn answer(&self, token: Fingerprint) -> Arc<Answer> {
        let mut answers = self.answers.lock();
        if let Some(known) = answers.get(&token)
            && known.counts(self.source.cache_ttl)
        {
            return known.clone();
        }
        let answer = Arc::new(Answer { outcome: OnceCell::new() });
        answers.put(token, answer.clone());
        if answers.len() > self.source.cache_size {
            answers.pop_lru();
        }
        answer
    }

    async fn ask(&self, token: &[u8], subject: &str) -> Result<Groups, String> {
        let outcome = self.request(token, subject).await;
        if let Err(reason) = &outcome {
            let url = printable(&self.source.url);
            tracing::warn!(url, reason, "the issuer's userinfo endpoint gave no groups");
        }
        outcome
    }

    async fn request(&self, token: &[u8], subject: &str) -> Result<Groups, String> {
        let _turn = self.requests.acquire().await.map_err(|_| "the gateway is ending".to_owned())?;
        let mut bearer = b"Bearer ".to_vec();
        bearer.extend_from_slice(token);
        let mut bearer =
            header::HeaderValue::try_from(bearer).map_err(|_| "the token is no header value".to_owned())?;
        bearer.set_sensitive(true);
        let request = self.client.get(&self.source.url);
        let request = request.header(header::ACCEPT, "application/json").header(header::AUTHORIZATION, bearer);
        let body = http::body(request, self.source.max_body_size).await.map_err(|error| error.to_string())?;
        let said = parse_object(&body).ok_or("the answer is not a JSON object")?;
        let about = claims::optional_string(&said, "sub").ok().flatten();
        if about != Some(subject) {
            return Err("the answer is not about the token's subject".to_owned());
        }
        let names = groups::named(&said, &self.claim).map_err(|reason| reason.to_string())?;
        Ok(Groups { names: names.unwrap_or_default(), as_of: Some(SystemTime::now()) })
    }
}

impl Answer {
    /// Whether it is still on its way, or came not too long ago.
    fn counts(&self, ttl: Duration) -> bool {
        match self.outcome.get() {
            None => true,
            Some((Ok(_), at)) => at.elapsed() < ttl,
            Some((Err(_), at)) => at.elapsed() < FAILURE_TTL.min(ttl),
        }
    }
}
