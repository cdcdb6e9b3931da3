//! Calls the object as PgDog would.

#![allow(unsafe_code, reason = "loading an object and calling what it exports cannot be checked by the compiler")]

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::path::Path;

use libloading::Library;
use pgdog_jwt_plugin::boundary::{ALLOW, Config, Context, DENY, Field, SKIP, Sink, Text, VERSION, Vtable};

use super::object;

/// An instance of the object, with state of its own.
pub(crate) struct Loaded(&'static Vtable);

/// What the sink was given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) decision: u32,
    texts: BTreeMap<u32, String>,
    flags: BTreeMap<u32, u8>,
}

impl Answer {
    pub(crate) fn text(&self, field: Field) -> Option<&str> {
        self.texts.get(&(field as u32)).map(String::as_str)
    }

    pub(crate) fn flag(&self, field: Field) -> Option<bool> {
        self.flags.get(&(field as u32)).map(|flag| *flag != 0)
    }

    /// The word of a refusal.
    pub(crate) fn reason(&self) -> &str {
        assert_eq!((self.decision, self.texts.len(), self.flags.len()), (DENY, 1, 0), "{self:?}");
        self.text(Field::Reason).unwrap()
    }

    pub(crate) fn is_skip(&self) -> bool {
        self.decision == SKIP && self.texts.is_empty() && self.flags.is_empty()
    }

    pub(crate) fn is_allow(&self) -> bool {
        self.decision == ALLOW && self.text(Field::Reason).is_none()
    }
}

/// A login, as PgDog describes it.
#[derive(Clone, Copy)]
pub(crate) struct Login<'a> {
    pub(crate) user: &'a [u8],
    pub(crate) database: &'a [u8],
    pub(crate) credential: &'a [u8],
    pub(crate) client_addr: &'a str,
    pub(crate) tls: bool,
}

impl<'a> Login<'a> {
    pub(crate) fn of(user: &'a str, credential: &'a str) -> Self {
        let (user, credential) = (user.as_bytes(), credential.as_bytes());
        Self { user, database: b"app", credential, client_addr: "127.0.0.1:50000", tls: false }
    }
}

impl Loaded {
    /// The object is copied first: one file is loaded once for each process, and a test wants an instance of its own. It is never
    /// unloaded, as its threads go on.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("plugin.so");
        std::fs::copy(object(), &copy).unwrap();
        // SAFETY: what runs when it is loaded is the standard library's.
        let library = unsafe { Library::new(&copy) }.unwrap();
        let library: &'static Library = Box::leak(Box::new(library));
        // SAFETY: the symbol is of this type: it is built from the same source.
        let vtable = unsafe { library.get::<*const Vtable>(b"PGDOG_JWT_PLUGIN_VTABLE\0") }.unwrap();
        // SAFETY: it leads to a static of the object, which is never unloaded.
        let vtable: &'static Vtable = unsafe { &**vtable };
        assert_eq!((vtable.version)(), VERSION);
        Self(vtable)
    }

    pub(crate) fn version(&self) -> &'static str {
        let text = (self.0.plugin_version)();
        // SAFETY: it is a constant of the object.
        unsafe { text.read() }.unwrap()
    }

    fn config(path: &str) -> Config {
        Config { log_level: Text::of("debug"), log_json: 1, plugin_config: Text::of(path) }
    }

    pub(crate) fn log(&self) {
        // SAFETY: the texts are there.
        unsafe { (self.0.logging_init)(Self::config("")) }
    }

    pub(crate) fn configure(&self, path: &Path) -> bool {
        let path = path.to_str().unwrap();
        // SAFETY: the texts are there.
        unsafe { (self.0.config)(Self::config(path)) != 0 }
    }

    pub(crate) fn configure_with_nothing(&self) -> bool {
        let config = Config { log_level: Text::none(), log_json: 0, plugin_config: Text::none() };
        // SAFETY: a text of no bytes may begin anywhere.
        unsafe { (self.0.config)(config) != 0 }
    }

    pub(crate) fn login(&self, login: Login<'_>) -> Answer {
        let context = Context {
            user: Text::of_bytes(login.user),
            database: Text::of_bytes(login.database),
            credential: Text::of_bytes(login.credential),
            client_addr: Text::of(login.client_addr),
            tls_identity: Text::none(),
            tls: u8::from(login.tls),
        };
        self.call(&raw const context)
    }

    /// With no context at all.
    pub(crate) fn login_of_nobody(&self) -> Answer {
        self.call(std::ptr::null())
    }

    pub(crate) fn login_without_sink(&self) -> u32 {
        // SAFETY: null is allowed for both.
        unsafe { (self.0.authenticate)(std::ptr::null(), std::ptr::null()) }
    }

    fn call(&self, context: *const Context) -> Answer {
        let mut answer = Answer::default();
        let sink = sink(&mut answer);
        // SAFETY: both are null or there, with their texts.
        let decision = unsafe { (self.0.authenticate)(context, &raw const sink) };
        Answer { decision, ..answer }
    }
}

/// A sink that fills an answer.
pub(crate) fn sink(answer: &mut Answer) -> Sink {
    Sink { host: std::ptr::from_mut(answer).cast(), text: take_text, flag: take_flag }
}

extern "C" fn take_text(host: *mut c_void, field: u32, text: Text) {
    // SAFETY: it is the answer of the call, which nobody else has.
    let answer = unsafe { &mut *host.cast::<Answer>() };
    // SAFETY: it is there until this returns, and is copied.
    let text = unsafe { text.read() };
    assert!(answer.texts.insert(field, text.unwrap().to_owned()).is_none());
}

extern "C" fn take_flag(host: *mut c_void, field: u32, flag: u8) {
    // SAFETY: as above.
    let answer = unsafe { &mut *host.cast::<Answer>() };
    assert!(answer.flags.insert(field, flag).is_none());
}
