//! What crosses between PgDog and this shared object.
//!
//! **Strings.** Nothing owned crosses. What PgDog passes is PgDog's, and read during the call alone; what is answered is the
//! plugin's, given to PgDog's sink one field at a time, and PgDog copies it before the sink returns. Nobody frees anything of the
//! other's, so that they need not share an allocator.
//!
//! **Panics.** A panic ends where it is: a decision becomes [`DENY`], a configuration is refused. A sink must not unwind: its
//! functions are `extern "C"`, which aborts.
//!
//! **Threads.** PgDog may call [`Vtable::authenticate`] on as many as it likes. It must not unload the object: its own threads
//! run until the process ends.

#![allow(unsafe_code, reason = "a shared object's symbol has a fixed name, and its callers pass pointers")]

mod text;

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::LazyLock;

use tracing::error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

pub use text::Text;

use crate::hook::{AuthContext, AuthDecision};
use crate::plugin::Plugin;

// A release that aborts on a panic would take PgDog with it.
const _: () = assert!(cfg!(panic = "unwind"), "the plugin must be built with panic = \"unwind\"");

/// Of this boundary. It changes whenever a type below does.
pub const VERSION: u32 = 1;

/// Not a token user.
pub const SKIP: u32 = 0;
/// The fields of the grant were given to the sink.
pub const ALLOW: u32 = 1;
/// The reason was given to the sink. Fields of a grant that were given before do not count.
pub const DENY: u32 = 2;

/// A field of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Field {
    /// A text.
    DerivedUser = 1,
    /// A text.
    ServerRole = 2,
    /// A text.
    ServerUser = 3,
    /// A text, not for any log.
    ServerPassword = 4,
    /// A flag. Not given: as PgDog's own configuration says.
    ReadOnly = 5,
    /// A flag.
    Provision = 6,
    /// A text: why not.
    Reason = 7,
}

/// A login.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Context {
    /// `user` of the start-up packet.
    pub user: Text,
    /// `database` of the start-up packet.
    pub database: Text,
    /// What the client sent as its password.
    pub credential: Text,
    /// Where the client is; empty: nobody knows.
    pub client_addr: Text,
    /// Who its certificate is made out to; empty: it showed none.
    pub tls_identity: Text,
    /// Not 0: its connection is encrypted.
    pub tls: u8,
}

/// Where an answer goes. A field that has no value is not given.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Sink {
    /// PgDog's own, passed back as it is.
    pub host: *mut c_void,
    /// Takes a text. It is valid until this returns.
    pub text: extern "C" fn(host: *mut c_void, field: u32, text: Text),
    /// Takes a flag, 0 or 1.
    pub flag: extern "C" fn(host: *mut c_void, field: u32, flag: u8),
}

/// What PgDog tells a plugin when it starts.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Config {
    /// A level, or a filter of `tracing`; empty: `info`.
    pub log_level: Text,
    /// Not 0: a JSON object for each event.
    pub log_json: u8,
    /// Path of the plugin's configuration file.
    pub plugin_config: Text,
}

/// What the object exports, as PgDog's other plugins do: one table, the version first.
#[repr(C)]
pub struct Vtable {
    /// [`VERSION`].
    pub version: extern "C" fn() -> u32,
    /// Of the plugin, as text.
    pub plugin_version: extern "C" fn() -> Text,
    /// Starts the log, on standard error.
    ///
    /// # Safety
    /// What the texts point to is there.
    pub logging_init: unsafe extern "C" fn(Config),
    /// Reads the configuration, at the start or again. 0: it is no good, and what was in use before stays so.
    ///
    /// # Safety
    /// As above.
    pub config: unsafe extern "C" fn(Config) -> u8,
    /// Decides a login: [`SKIP`], [`ALLOW`] or [`DENY`]. Blocks, for 20 seconds at most.
    ///
    /// # Safety
    /// The pointers are null or lead to values that nobody changes during the call, and so do those of the texts.
    pub authenticate: unsafe extern "C" fn(*const Context, *const Sink) -> u32,
}

/// The one thing that is looked up by name.
// SAFETY: no other symbol has this name, and the table holds functions alone, which nobody writes to.
#[unsafe(no_mangle)]
pub static PGDOG_JWT_PLUGIN_VTABLE: Vtable = Vtable { version, plugin_version, logging_init, config, authenticate };

static PLUGIN: LazyLock<Plugin> = LazyLock::new(Plugin::default);

extern "C" fn version() -> u32 {
    VERSION
}

extern "C" fn plugin_version() -> Text {
    Text::of(env!("CARGO_PKG_VERSION"))
}

unsafe extern "C" fn logging_init(config: Config) {
    contained((), || {
        // SAFETY: as the caller promises.
        let level = unsafe { config.log_level.read() };
        let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
        let filter = filter.parse_lossy(level.unwrap_or_default());
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
        // There may be one already.
        drop(if config.log_json == 0 { log.try_init() } else { log.json().try_init() });
    });
}

unsafe extern "C" fn config(config: Config) -> u8 {
    contained(0, || {
        // SAFETY: as the caller promises.
        let path = unsafe { config.plugin_config.read() };
        let Some(path) = path.filter(|path| !path.is_empty()) else {
            error!(event = "configuration", decision = "refused", "the plugin has no configuration file");
            return 0;
        };
        u8::from(PLUGIN.configure(Path::new(path)))
    })
}

unsafe extern "C" fn authenticate(context: *const Context, sink: *const Sink) -> u32 {
    // SAFETY: as the caller promises.
    let sink = unsafe { sink.as_ref() };
    // Nobody would hear the answer.
    let Some(sink) = sink else { return DENY };
    // SAFETY: as the caller promises.
    let context = unsafe { context.as_ref() };
    let context = context.and_then(|context| {
        // SAFETY: as the caller promises.
        unsafe { context.read() }
    });
    answer(sink, || match context {
        Some(context) => PLUGIN.authenticate(&context),
        None => AuthDecision::deny("malformed_context"),
    })
}

impl Context {
    /// `None`: it is no text.
    ///
    /// # Safety
    /// What the texts point to is there for `'a`.
    unsafe fn read<'a>(&self) -> Option<AuthContext<'a>> {
        let texts = [self.user, self.database, self.credential, self.client_addr, self.tls_identity];
        let [user, database, credential, client_addr, tls_identity] = texts.map(|text| {
            // SAFETY: as the caller promises.
            unsafe { text.read() }
        });
        let given = |text: Option<&'a str>| text.map(|text| Some(text).filter(|text| !text.is_empty()));
        Some(AuthContext {
            user: user?,
            database: database?,
            credential: credential?,
            client_addr: given(client_addr)?,
            tls_identity: given(tls_identity)?,
            tls: self.tls != 0,
        })
    }
}

/// Decides, and gives the answer to the sink. A panic is a refusal.
pub fn answer(sink: &Sink, decide: impl FnOnce() -> AuthDecision) -> u32 {
    let text = |field: Field, text: &str| (sink.text)(sink.host, field as u32, Text::of(text));
    let flag = |field: Field, flag: bool| (sink.flag)(sink.host, field as u32, u8::from(flag));
    let decision = contained(AuthDecision::deny("internal_error"), decide);
    match decision {
        AuthDecision::Skip => SKIP,
        AuthDecision::Deny(reason) => {
            text(Field::Reason, &reason);
            DENY
        }
        AuthDecision::Allow(grant) => {
            let texts = [
                (Field::DerivedUser, &grant.derived_user),
                (Field::ServerRole, &grant.server_role),
                (Field::ServerUser, &grant.server_user),
                (Field::ServerPassword, &grant.server_password),
            ];
            for (field, value) in texts {
                if let Some(value) = value {
                    text(field, value);
                }
            }
            if let Some(read_only) = grant.read_only {
                flag(Field::ReadOnly, read_only);
            }
            flag(Field::Provision, grant.provision);
            ALLOW
        }
    }
}

/// No panic passes. What was being changed stays whole: a configuration is put in place by one store, and locks here do not
/// poison.
fn contained<T>(otherwise: T, run: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(otherwise)
}
