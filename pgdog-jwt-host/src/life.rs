//! How long a session lives: until its token ends, by two clocks, or is revoked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pgdog_jwt::AuthGrant;
use pgdog_jwt::revocation::{Revocations, TokenIdentity};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::audit;

/// Between two looks at the clock on the wall, which may be set meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// `exp` and the issuer's leeway have passed.
    Expired,
    /// Its token was revoked.
    Revoked,
    /// The configuration of token users is another one since.
    Superseded,
}

impl End {
    /// What the client receives: FATAL.
    pub fn sqlstate(self) -> &'static str {
        "57P01"
    }

    /// The error's message.
    pub fn message(self) -> &'static str {
        match self {
            Self::Expired => "terminating connection because the token of this session has expired",
            Self::Revoked => "terminating connection because its token was revoked",
            Self::Superseded => "terminating connection because the configuration for tokens has changed",
        }
    }
}

/// What sessions have in common that were let in by one configuration.
#[derive(Debug, Clone, Default)]
pub struct Generation(Arc<watch::Sender<bool>>);

impl Generation {
    /// Ends its sessions: as with their tokens, when nothing runs, or after the grace.
    pub fn end(&self) {
        self.0.send_replace(true);
    }
}

impl PartialEq for Generation {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// How long what runs may go on in sessions that never end with their token.
const GRACE: Duration = Duration::from_secs(10);

/// What becomes of a session when its token expires. A revocation ends it at once, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExpiry {
    /// It ends when nothing runs, or when the grace is over.
    Disconnect {
        /// How long what runs may go on.
        grace: Duration,
    },
    /// It goes on.
    Ignore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Valid,
    /// As soon as nothing runs.
    Ending(End),
    Over(End),
}

/// The life of one session. Dropping it ends the watch.
#[derive(Debug)]
pub struct Life {
    state: watch::Receiver<State>,
    task: JoinHandle<()>,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits for the end of a session, apart from what else is done with it.
#[derive(Debug, Clone)]
pub struct Ending(watch::Receiver<State>);

/// What is compared with revocations.
#[derive(Debug)]
struct Token {
    issuer: Option<String>,
    subject: String,
    token_id: Option<String>,
    issued_at: Option<SystemTime>,
    client: SocketAddr,
}

impl Life {
    /// Watches the session of a client from now on; its end is an event in the log. Call it before the last check of the login, so that no revocation is missed in between. Needs a
    /// runtime.
    pub fn begin(
        grant: &AuthGrant,
        revocations: Arc<Revocations>,
        on_expiry: OnExpiry,
        generation: &Generation,
        client: SocketAddr,
    ) -> Self {
        let token = Token {
            issuer: grant.issuer.clone(),
            subject: grant.subject.clone(),
            token_id: grant.token_id.clone(),
            issued_at: grant.issued_at,
            client,
        };
        let (sender, state) = watch::channel(State::Valid);
        let changes = revocations.changes();
        // A revocation since the token was checked is not a change any more.
        if is_revoked(&revocations, &token) {
            sender.send_replace(State::Over(End::Revoked));
        }
        let task = tokio::spawn(run(
            sender,
            token,
            revocations,
            changes,
            generation.0.subscribe(),
            (grant.valid_until, on_expiry),
        ));
        Self { state, task }
    }

    /// To be waited for.
    pub fn ending(&self) -> Ending {
        Ending(self.state.clone())
    }

    /// Whether the session ends already.
    pub fn has_ended(&self) -> bool {
        *self.state.borrow() != State::Valid
    }
}

impl Ending {
    /// For sessions without a token: never.
    pub fn never() -> Self {
        let (sender, state) = watch::channel(State::Valid);
        drop(sender);
        Self(state)
    }

    /// Waits until the session must end now. `is_idle`: nothing of it runs, and it is in no transaction. May be dropped at any
    /// time and asked again.
    pub async fn due(&mut self, is_idle: bool) -> End {
        loop {
            match *self.0.borrow_and_update() {
                State::Over(end) => return end,
                State::Ending(end) if is_idle => return end,
                State::Valid | State::Ending(_) => {}
            }
            if self.0.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

async fn run(
    state: watch::Sender<State>,
    token: Token,
    revocations: Arc<Revocations>,
    mut changes: watch::Receiver<u64>,
    mut superseded: watch::Receiver<bool>,
    (valid_until, on_expiry): (SystemTime, OnExpiry),
) {
    let steady = Instant::now().checked_add(until(valid_until));
    let expiry = async {
        let OnExpiry::Disconnect { grace } = on_expiry else { return std::future::pending().await };
        loop {
            let steady = steady.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
            match until(valid_until).min(steady) {
                Duration::ZERO => break,
                left => sleep(left.min(LOOK_EVERY)).await,
            }
        }
        begin_end(&state, End::Expired, &token);
        sleep(grace).await;
        state.send_replace(State::Over(End::Expired));
    };
    let revoked = async {
        while changes.changed().await.is_ok() {
            if is_revoked(&revocations, &token) {
                begin_end(&state, End::Revoked, &token);
                state.send_replace(State::Over(End::Revoked));
                return;
            }
        }
        std::future::pending().await
    };
    let superseded = async {
        if superseded.wait_for(|is_over| *is_over).await.is_err() {
            return std::future::pending().await;
        }
        begin_end(&state, End::Superseded, &token);
        let grace = if let OnExpiry::Disconnect { grace } = on_expiry { grace } else { GRACE };
        sleep(grace).await;
        state.send_replace(State::Over(End::Superseded));
    };
    tokio::select! {
        () = expiry => {}
        () = superseded => {}
        () = revoked => {}
    }
}

/// The first reason stays.
fn begin_end(state: &watch::Sender<State>, end: End, token: &Token) {
    let is_first = state.send_if_modified(|state| {
        let was_valid = *state == State::Valid;
        if was_valid {
            *state = State::Ending(end);
        }
        was_valid
    });
    if is_first {
        audit::ended(end, &token.subject, token.client);
    }
}

fn is_revoked(revocations: &Revocations, token: &Token) -> bool {
    let token = TokenIdentity {
        issuer: token.issuer.as_deref(),
        subject: &token.subject,
        token_id: token.token_id.as_deref(),
        issued_at: token.issued_at,
    };
    revocations.check(&token).is_err()
}

fn until(end: SystemTime) -> Duration {
    end.duration_since(SystemTime::now()).unwrap_or_default()
}
