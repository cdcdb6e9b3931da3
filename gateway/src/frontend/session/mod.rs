//! A session: a client's life after login. One task owns the client's socket and, while a statement or transaction runs,
//! a server connection as well; bytes go from one to the other without passing through anything else.
//!
//! `requests` reads what the client sends and decides, `replies` reads what the server answers, `turn` moves bytes until
//! something has to be decided, `checkout` gets and gives back servers, `begin` opens transactions late.

mod attached;
mod barriers;
mod batch;
mod begin;
mod checkout;
mod effects;
mod expect;
mod expiry;
mod extended;
mod failures;
mod leave;
mod names;
mod own_writes;
mod parameters;
mod pins;
mod replies;
mod requests;
mod sql_statements;
mod statements;
mod turn;
mod unnamed;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tracing::info;

use crate::app::state::{App, Generation};
use crate::app::worker::Watch;
use crate::backend::cluster::Membership;
use crate::backend::server::Server;
use crate::backend::settings::Settings;
use crate::config::{Guard, PoolerMode, PreparedStatements, ReadWriteStrategy};
use crate::frontend::grant::Who;
use crate::frontend::sessions::Registration;
use crate::net::buffer::Chunk;
use crate::net::stream::Stream;
use crate::wire::{PgError, Severity};

use effects::Inquiries;
use expect::Expected;
use names::Names;
use own_writes::OwnWrites;
use pins::Pin;
use sql_statements::SqlStatements;
use unnamed::Unnamed;

/// Everything that a login decided.
pub(crate) struct Opening {
    pub(crate) client: Stream,
    pub(crate) who: Who,
    pub(crate) pools: Membership,
    pub(crate) settings: Arc<Settings>,
    /// Those of `settings` that the client did not ask for: they came with its role.
    pub(crate) attached: Settings,
    /// What the greeting says of parameters that may change.
    pub(crate) told: Arc<[u8]>,
    pub(crate) registration: Registration,
    pub(crate) generation: Arc<Generation>,
}

/// See the module.
pub(crate) struct Session {
    app: &'static App,
    client: Stream,
    who: Who,
    pools: Membership,
    settings: Arc<Settings>,
    /// The settings of the start-up packet and of the role, which RESET leads back to.
    startup: Arc<Settings>,
    /// Those of `startup` that came with the role.
    attached: Settings,
    /// The parameters of servers as the client was told last.
    told: Arc<[u8]>,
    registration: Registration,
    generation: Arc<Generation>,
    /// How this session uses servers.
    rules: Rules,
    /// The session ends then at the latest.
    ends_at: Option<SystemTime>,

    /// What the client sent and the session has not dealt with.
    input: Chunk,
    /// Bytes of a message that is passed on (or dropped) without being looked at.
    passing: usize,
    passing_to_nobody: bool,
    /// Replies for the client: first `out`, then `forward`.
    out: Vec<u8>,
    out_at: usize,
    forward: Chunk,

    server: Option<Server>,
    /// Requests for the server.
    requests: Vec<u8>,
    requests_at: usize,
    /// The start of a reply that has not arrived whole.
    carry: Vec<u8>,
    /// Bytes of a reply that is forwarded without being looked at.
    replying: usize,

    expected: Expected,
    batch: Batch,
    /// The next request must wait until the server is idle and its identity is confirmed.
    barrier: Barrier,
    /// It is DISCARD ALL, which also takes statements and settings; not RESET ALL.
    barrier_discards: bool,
    copy_in: bool,
    /// Whether state that cannot follow it holds the session to its server.
    pins: Pin,
    inquiries: Inquiries,
    own_writes: OwnWrites,
    /// The BEGIN that the client was answered and no server has heard yet.
    begun: Option<Box<str>>,
    /// A server was lost while nothing was asked of it: the next request hears why.
    lost: Option<Box<PgError>>,
    /// A cancel request is on its way to the server.
    cancelling: Option<tokio::task::JoinHandle<()>>,
    /// What runs may change what statements give.
    changes_schema: bool,
    /// The server was asked something since its identity was confirmed.
    ran: bool,
    /// When the oldest unanswered request was sent, where a limit is configured.
    asked_at: Option<Instant>,

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
    /// Names of statements that are DISCARD ALL, where names are not followed.
    barrier_names: Vec<Box<[u8]>>,
}

/// What does not change during a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rules {
    mode: PoolerMode,
    watch: Watch,
    /// The guard is on (S3).
    guarded: bool,
    /// Statements are classified: for the guard, the routes, or the state that they leave on a pooled server.
    reads_sql: bool,
    /// Prepared statements are renamed and follow the client.
    follows_statements: bool,
    /// So are those of SQL `PREPARE`.
    follows_sql: bool,
    /// Largest statement that is read, in bytes.
    max_statement: usize,
    /// The first statement of a transaction says where it runs (`read_write_strategy = "aggressive"`).
    first_statement_decides: bool,
    /// RESET ALL may touch variables that carry identity.
    resets_touch_identity: bool,
    /// Functions of the client's own may run (`guard = "standard"`): what they did to the identity is not known.
    verifies: bool,
}

impl Rules {
    fn new(generation: &Generation, who: &Who, pools: &Membership) -> Self {
        let config = &generation.config;
        let mode = pools.mode;
        let watch = match (pools.spec.read_only, who.is_guarded()) {
            (true, _) => Watch::ReadOnly,
            (false, true) => Watch::Guarded,
            (false, false) => Watch::Open,
        };
        let guarded = watch != Watch::Open;
        Self {
            mode,
            watch,
            guarded,
            reads_sql: guarded || mode != PoolerMode::Session || pools.routes(),
            follows_statements: mode != PoolerMode::Session
                && config.general.prepared_statements != PreparedStatements::Disabled,
            follows_sql: mode != PoolerMode::Session && config.general.prepared_statements == PreparedStatements::Full,
            first_statement_decides: mode == PoolerMode::Transaction
                && pools.routes()
                && config.general.read_write_strategy == ReadWriteStrategy::Aggressive,
            resets_touch_identity: watch == Watch::ReadOnly || !generation.policy.protected.is_empty(),
            verifies: guarded && config.jwt.as_ref().is_some_and(|jwt| jwt.guard == Guard::Standard),
            max_statement: config.jwt.as_ref().map_or(16 << 20, |jwt| jwt.max_statement_size),
        }
    }
}

/// Where an extended batch (the messages up to a Sync) stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Batch {
    /// No message since the last Sync.
    None,
    /// Sent to the server, Sync not yet.
    Open,
    /// PostgreSQL answered with an error and discards everything up to Sync; so does the gateway.
    Failed,
    /// As `Failed`, but nothing was sent: the gateway itself answers the Sync.
    Refused,
}

/// DISCARD ALL, from its request until the identity is confirmed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Barrier {
    None,
    /// Bound in the open batch, to be executed.
    Bound,
    /// Sent: nothing else may follow in the batch, and the next request waits.
    Sent,
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
    pub(crate) fn new(app: &'static App, opening: Opening) -> Self {
        let Opening { client, who, pools, settings, attached, told, registration, generation } = opening;
        let rules = Rules::new(&generation, &who, &pools);
        let reads_own_writes = generation.config.general.read_your_writes && pools.routes();
        let own_writes = OwnWrites::new(reads_own_writes && rules.mode != PoolerMode::Session);
        Self {
            app,
            client,
            ends_at: who.ends_at(),
            who,
            pools,
            startup: settings.clone(),
            settings,
            attached,
            told,
            registration,
            generation,
            rules,
            input: Chunk::default(),
            passing: 0,
            passing_to_nobody: false,
            out: Vec::new(),
            out_at: 0,
            forward: Chunk::default(),
            server: None,
            requests: Vec::new(),
            requests_at: 0,
            carry: Vec::new(),
            replying: 0,
            expected: Expected::default(),
            batch: Batch::None,
            barrier: Barrier::None,
            barrier_discards: false,
            copy_in: false,
            pins: Pin::default(),
            inquiries: Inquiries::default(),
            own_writes,
            begun: None,
            lost: None,
            cancelling: None,
            changes_schema: false,
            ran: false,
            asked_at: None,
            names: Names::default(),
            provided: Vec::new(),
            unnamed: None,
            unnamed_changed_in: 0,
            changed: 0,
            sql: rules.follows_sql.then(Box::default),
            barrier_names: Vec::new(),
        }
    }

    /// Runs until the client leaves or is cut off. `greeting` is what the client still has to be told of its login.
    pub(crate) async fn run(mut self, greeting: Vec<u8>) {
        self.out = greeting;
        let end = match self.converse().await {
            Ok(()) => End::Left,
            Err(end) => end,
        };
        let reason = match end {
            End::Left => None,
            End::Fatal(error) => {
                let error = error.with_severity(Severity::Fatal);
                self.tell(&error).await;
                Some(error)
            }
            End::Broken(error) => Some(error),
        };
        if self.generation.config.general.log_disconnections || reason.is_some() {
            let code = reason.as_ref().map(|error| error.code.as_ref());
            let why = reason.as_ref().map(|error| error.message.as_ref());
            info!(
                event = "disconnect",
                user = self.who.user(),
                database = self.pools.key.database,
                code,
                reason = why,
                "disconnect"
            );
        }
        Box::pin(self.leave(reason.is_none())).await;
    }

    /// The conversation: deal with what the client sent, get what that needs, move bytes, again.
    async fn converse(&mut self) -> Result<(), End> {
        use requests::Next;
        loop {
            match self.pump()? {
                Next::Terminate => return Ok(()),
                Next::Server(access) => {
                    self.registration.meter.waits();
                    let outcome = self.acquire(access).await;
                    self.registration.meter.waited();
                    outcome?;
                }
                Next::Begin => self.begin().await?,
                Next::Input => self.turn(turn::Until::Input).await?,
                Next::Room => self.turn(turn::Until::Room).await?,
                Next::Replies => self.turn(turn::Until::Replies).await?,
                Next::Answers => self.turn(turn::Until::Answers).await?,
                Next::Silence => self.turn(turn::Until::Silence).await?,
                Next::Names => self.agree_on_names().await?,
                Next::Quiet => self.turn(turn::Until::Quiet).await?,
            }
        }
    }

    /// Whether the server owes nothing and no batch is open.
    #[inline]
    fn is_quiet(&self) -> bool {
        self.expected.is_empty() && matches!(self.batch, Batch::None | Batch::Refused)
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
