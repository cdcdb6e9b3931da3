//! A session: a client's life after login. One task owns the client's socket and, while a statement or transaction runs,
//! a server connection as well; bytes go from one to the other without passing through anything else.
//!
//! `requests` reads what the client sends and decides, `replies` reads what the server answers, `turn` moves bytes until
//! something has to be decided, `checkout` gets servers and `settle` gives them back, `begin` opens transactions late.

mod access;
mod assertion;
mod attached;
mod batch;
mod begin;
pub(crate) mod bench;
mod checkout;
mod doubt;
mod effects;
mod expiry;
mod extended;
mod failures;
mod foreign;
mod forgetting;
mod held_cancel;
mod leave;
mod name;
mod names;
mod new_token;
mod no_server;
mod notifications;
mod own_requests;
mod own_statements;
mod own_writes;
mod parameters;
mod patience;
mod pending;
mod pins;
mod recorded;
mod renewal;
mod replies;
mod requests;
mod resend;
mod resting;
mod rewriting;
mod rules;
mod settle;
mod signals;
mod special;
mod sql_statements;
mod statement_audit;
mod statements;
mod turn;
mod unnamed;

use std::num::NonZeroU64;
use std::sync::Arc;

use pgdog_jwt_protocol::Conversation;

use crate::app::state::{App, Generation};
use crate::audit::StatementPolicy;
use crate::backend::cluster::Membership;
use crate::backend::server::Server;
use crate::backend::settings::Settings;
use crate::config::{PoolerMode, ServerCleaning};
use crate::frontend::audit;
use crate::frontend::cancelling::Cancelling;
use crate::frontend::grant::Who;
use crate::frontend::person::Person;
use crate::frontend::sessions::Registration;
use crate::net::buffer::Chunk;
use crate::net::stream::Stream;
use crate::wire::{PgError, Severity};

use assertion::Unasserted;
use begin::Begun;
use effects::Inquiries;
use expiry::Expiry;
use forgetting::Forgetting;
use held_cancel::HeldCancel;
use leave::Parting;
use names::Names;
use own_statements::OwnStatements;
use own_writes::OwnWrites;
use pending::Pending;
use pins::Pin;
use recorded::Statements;
use rules::Rules;
use special::SpecialNames;
use sql_statements::SqlStatements;
use unnamed::Unnamed;

/// Everything that a login decided.
pub(crate) struct Opening {
    pub(crate) client: Stream,
    /// What the client sent before it knew that it is in.
    pub(crate) ahead: Chunk,
    /// The user of the start-up packet.
    pub(crate) typed: Box<str>,
    pub(crate) who: Who,
    pub(crate) pools: Membership,
    pub(crate) settings: Arc<Settings>,
    /// Those of `settings` that the client did not ask for: they came with its role.
    pub(crate) attached: Option<Box<Settings>>,
    /// What the greeting says of parameters that may change.
    pub(crate) told: Arc<[u8]>,
    /// Present where a template makes the session's name in PostgreSQL.
    pub(crate) person: Option<Box<Person>>,
    pub(crate) registration: Registration,
    pub(crate) generation: Arc<Generation>,
}

/// See the module.
pub(crate) struct Session {
    app: &'static App,
    client: Stream,
    typed: Box<str>,
    who: Who,
    pools: Membership,
    settings: Arc<Settings>,
    /// The settings of the start-up packet and of the role, which RESET leads back to.
    startup: Arc<Settings>,
    /// Those of `startup` that came with the role.
    attached: Option<Box<Settings>>,
    /// The parameters of servers as the client was told last.
    told: Arc<[u8]>,
    /// Present where a template makes the session's name in PostgreSQL.
    person: Option<Box<Person>>,
    registration: Registration,
    generation: Arc<Generation>,
    /// How this session uses servers.
    rules: Rules,
    /// What its token's end means to it.
    expiry: Option<Box<Expiry>>,

    /// What the client sent and the session has not dealt with.
    input: Chunk,
    /// Bytes of a message that is passed on (or dropped) without being looked at.
    passing: usize,
    passing_to_nobody: bool,
    /// Replies for the client: first `out`, then `forward`.
    out: Vec<u8>,
    /// What of it was written. A message has 2 GiB at most, and so much is never gathered.
    out_at: u32,
    forward: Chunk,

    server: Option<Server>,
    /// Requests for the server.
    requests: Vec<u8>,
    requests_at: u32,
    /// The start of a reply that has not arrived whole.
    carry: Vec<u8>,
    /// Bytes of a reply that is forwarded without being looked at.
    replying: usize,

    /// What the server owes.
    conversation: Conversation<Pending>,
    /// The batch was answered with an error of the gateway's: everything up to its Sync is dropped.
    refused: bool,
    /// A portal was run in the batch.
    ran_in_batch: bool,
    /// What may have changed the identity since it was asked for, where that is verified.
    unasserted: Option<Box<Unasserted>>,
    /// The client is told that the server is ready when the settings are what they were when it came.
    is_ready_due: bool,
    forgetting: Forgetting,
    /// Whether state that cannot follow it holds the session to its server.
    pins: Pin,
    inquiries: Inquiries,
    own_writes: OwnWrites,
    /// The BEGIN that the client was answered and no server has heard yet.
    begun: Option<Box<Begun>>,
    /// A server was lost while nothing was asked of it: the next request hears why.
    lost: Option<Box<PgError>>,
    /// A server may become the session's identity with the session's request.
    pipelines: bool,
    /// So has this one, and what it reported meanwhile was not compared with what the client was told.
    is_untold: bool,
    /// A cancel request is on its way to the server.
    cancelling: Option<Box<Cancelling>>,
    /// One that has come before its request.
    held_cancel: Option<Box<HeldCancel>>,
    /// What statements complete as matters: they may be of SQL `PREPARE`, or sent otherwise than they were written.
    reads_tags: bool,
    /// A statement was prepared with another text than the client's.
    has_rewritten: bool,
    /// What runs may change what statements give.
    changes_schema: bool,
    /// The server was asked something since its identity was confirmed.
    ran: bool,
    /// That was BEGIN or SET TRANSACTION, by a simple query, and nothing else.
    only_opens: bool,
    /// When the oldest unanswered request was sent, by [`crate::stats::clock`], where a limit is configured.
    asked_at: Option<NonZeroU64>,
    /// When the transaction began, where that is limited.
    transaction_since: Option<NonZeroU64>,

    names: Names,
    /// Statements that the server was sent lately, by number, and in which batch.
    provided: Vec<(u64, u64)>,
    unnamed: Option<Arc<Unnamed>>,
    /// The batch that changed it last, see [`names`].
    unnamed_changed_in: u64,
    /// The number of a statement whose result is not what clients know any more, as a server has just said; 0 for none.
    changed: u64,
    /// Statements of SQL `PREPARE`, where they follow the client.
    sql: Option<Box<SqlStatements>>,
    /// Prepared statements about the session's token.
    own: Option<Box<OwnStatements>>,
    /// Statements that are special, where names are not followed; and portals of such statements.
    special_names: SpecialNames,
    /// Present where statements are recorded.
    audited: Option<Box<Statements>>,
}

/// The SQLSTATE of `admin_shutdown`: what the client has sent is not carried out.
const ADMIN_SHUTDOWN: &str = "57P01";

/// The SQLSTATE of `transaction_timeout`: the same.
const TRANSACTION_TIMEOUT: &str = "25P04";

/// Whether nothing more of what the client has sent is carried out when its session ends with this error.
fn stops(error: &PgError) -> bool {
    error.code == ADMIN_SHUTDOWN || error.code == TRANSACTION_TIMEOUT
}

/// Why a session ended.
#[derive(Debug)]
pub(super) enum End {
    /// The client said goodbye or went away.
    Left,
    /// The client is told why and cut off.
    Fatal(PgError),
    /// The client cannot even be told: it is in the middle of a message.
    Broken(PgError),
}

impl From<crate::wire::ProtocolViolation> for End {
    fn from(violation: crate::wire::ProtocolViolation) -> Self {
        Self::Fatal(PgError::fatal("08P01", violation.to_string()))
    }
}

impl Session {
    /// `greeting` is what the client still has to be told of its login.
    pub(crate) fn new(app: &'static App, opening: Opening, greeting: Vec<u8>) -> Self {
        let Opening { client, ahead, typed, who, pools, settings, attached, told, person, registration, generation } =
            opening;
        let recorded = StatementPolicy::new(&generation.config.audit, &registration.meter.card().about);
        let audited = recorded.map(|policy| Box::new(Statements::new(policy)));
        registration.meter.received(ahead.len());
        let rules = Rules::new(&generation, &who, &pools).reading(audited.is_some() || person.is_some());
        let pipelines = pipelines(&generation, &pools, &rules);
        let reads_own_writes = generation.config.general.read_your_writes && pools.routes();
        let own_writes = OwnWrites::new(reads_own_writes && rules.mode != PoolerMode::Session);
        Self {
            app,
            client,
            typed,
            expiry: Expiry::new(&who, generation.config.jwt.as_ref().map(|jwt| &jwt.life)),
            who,
            pools,
            startup: settings.clone(),
            settings,
            attached,
            told,
            person,
            registration,
            generation,
            rules,
            input: ahead,
            passing: 0,
            passing_to_nobody: false,
            out: greeting,
            out_at: 0,
            forward: Chunk::default(),
            server: None,
            requests: Vec::new(),
            requests_at: 0,
            carry: Vec::new(),
            replying: 0,
            conversation: Conversation::default(),
            refused: false,
            ran_in_batch: false,
            unasserted: None,
            is_ready_due: false,
            forgetting: Forgetting::default(),
            pins: Pin::default(),
            inquiries: Inquiries::default(),
            own_writes,
            begun: None,
            lost: None,
            pipelines,
            is_untold: false,
            cancelling: None,
            held_cancel: None,
            reads_tags: rules.follows_sql,
            has_rewritten: false,
            changes_schema: false,
            ran: false,
            only_opens: false,
            asked_at: None,
            transaction_since: None,
            names: Names::default(),
            provided: Vec::new(),
            unnamed: None,
            unnamed_changed_in: 0,
            changed: 0,
            sql: rules.follows_sql.then(Box::default),
            own: None,
            special_names: SpecialNames::default(),
            audited,
        }
    }

    /// Whether servers may become the session's identity with its requests.
    fn may_pipeline(&self) -> bool {
        pipelines(&self.generation, &self.pools, &self.rules)
    }

    /// Runs until the client leaves or is cut off.
    pub(crate) async fn run(mut self: Box<Self>) {
        let outcome = self.converse().await;
        Box::pin(self.end(outcome)).await;
    }

    /// The end of a session, and what is said of it.
    async fn end(mut self: Box<Self>, outcome: Result<(), End>) {
        if let Err(End::Fatal(error) | End::Broken(error)) = &outcome
            && stops(error)
        {
            self.halt().await;
        }
        let reason = match outcome {
            Ok(()) | Err(End::Left) => None,
            // An error would be taken for a part of the message in which the client is.
            Err(End::Fatal(error)) if self.replying > 0 => Some(error),
            Err(End::Fatal(error)) => {
                let error = error.with_severity(Severity::Fatal);
                self.tell(&error).await;
                Some(error)
            }
            Err(End::Broken(error)) => Some(error),
        };
        let parting = match &reason {
            None => Parting::Farewell,
            Some(error) if stops(error) => Parting::Stop,
            Some(_) => Parting::CutOff,
        };
        if self.generation.config.general.log_disconnections || reason.is_some() {
            audit::disconnected(&self.registration, reason.as_ref());
        }
        self.leave(parting).await;
    }

    /// The conversation: deal with what the client sent, get what that needs, move bytes, again. All but the turns is boxed:
    /// a session that waits for its client takes as much room as the largest thing that it may ever wait for.
    async fn converse(&mut self) -> Result<(), End> {
        use requests::Next;
        use turn::Until;
        loop {
            let until = match self.pump()? {
                Next::Input => Until::Input,
                Next::Room => Until::Room,
                Next::Replies => Until::Replies,
                Next::Answers => Until::Answers,
                Next::Silence => Until::Silence,
                Next::Rest => Until::Rest,
                Next::Quiet => Until::Quiet,
                Next::Copy => Until::Copy,
                Next::Forget => {
                    Box::pin(self.forget_at_once()).await?;
                    continue;
                }
                Next::Server(access) => {
                    self.registration.meter.waits();
                    // Many may wait, each for long.
                    self.input.make_small();
                    let outcome = Box::pin(self.acquire(access)).await;
                    self.registration.meter.waited();
                    outcome?;
                    continue;
                }
                Next::Begin => {
                    Box::pin(self.begin()).await?;
                    continue;
                }
                Next::Names => {
                    Box::pin(self.agree_on_names()).await?;
                    continue;
                }
                Next::Renewal => {
                    Box::pin(self.renew()).await?;
                    continue;
                }
                Next::Terminate => return Ok(()),
            };
            self.turn(until).await?;
        }
    }

    /// Whether the server owes nothing and no batch is open.
    #[inline]
    fn is_quiet(&self) -> bool {
        self.conversation.is_idle()
    }

    /// Whether a message is on its way between client and server, or to be sent to the server.
    #[inline]
    fn is_moving(&self) -> bool {
        let request = self.passing > 0 && !self.passing_to_nobody;
        request || !self.requests.is_empty() || !self.carry.is_empty() || self.replying > 0
    }

    /// Adds an error to what the client will read.
    fn say(&mut self, error: &PgError) {
        self.flush_forward_into_out();
        self.registration.meter.own_error(&error.code);
        error.write(&mut self.out);
    }

    /// Keeps the order when something must come behind bytes that are forwarded.
    fn flush_forward_into_out(&mut self) {
        if !self.forward.is_empty() {
            self.out.extend_from_slice(self.forward.bytes());
            self.forward = Chunk::default();
        }
    }
}

fn pipelines(generation: &Generation, pools: &Membership, rules: &Rules) -> bool {
    let changes_hands = pools.spec.shared || generation.config.general.server_cleaning != ServerCleaning::Never;
    changes_hands && rules.mode != PoolerMode::Session && !rules.follows_sql
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The allocator's next smaller blocks have 640 bytes.
    #[test]
    fn a_session_is_small() {
        let size = size_of::<Session>();
        assert!(size <= 768, "{size} bytes");
    }
}
