//! Keys, each declared once: name, kind of value, default, and what it is for. Reading goes by the declaration, and so do the
//! JSON Schema ([`schema`](fn@super::schema)) and the check of a reference and an example
//! ([`undocumented`](fn@super::undocumented)).

use serde_json::{Map, Value, json};

use super::kinds::{FilePath, Filled, Hidden, Kind, Program};
use super::section::Section;

/// A key that has no fixed value where the file does not set it.
#[derive(Debug)]
pub struct Key<K> {
    /// As files have it.
    pub name: &'static str,
    /// What its value may be.
    pub kind: K,
    /// What holds without it, in the words of the reference.
    pub otherwise: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Only a host can honour it: see [`Host`](super::Host).
    pub by_host: bool,
}

/// A key with a default.
#[derive(Debug)]
pub struct Setting<K: Kind> {
    /// The key.
    pub key: Key<K>,
    /// Its value where the file does not set it.
    pub default: K::Constant,
}

/// A key without a default; "none" holds without it.
pub const fn key<K: Copy>(name: &'static str, kind: K) -> Key<K> {
    Key { name, kind, otherwise: "none", about: "", by_host: false }
}

/// A key with a default.
pub const fn setting<K: Kind>(name: &'static str, kind: K, default: K::Constant) -> Setting<K> {
    Setting { key: key(name, kind), default }
}

impl<K: Copy> Key<K> {
    /// What holds without it.
    #[must_use]
    pub const fn or(mut self, otherwise: &'static str) -> Self {
        self.otherwise = otherwise;
        self
    }

    /// A key that only a host can honour.
    #[must_use]
    pub const fn by_host(mut self) -> Self {
        self.by_host = true;
        self
    }

    /// What it is for.
    #[must_use]
    pub const fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }
}

/// A secret: four keys, of which at most one is set. See [`secret!`](crate::secret!).
#[derive(Debug)]
pub struct SecretKey {
    /// The secret itself.
    pub literal: Key<Hidden>,
    /// `…_file`: a file that holds it.
    pub file: Key<FilePath>,
    /// `…_env`: a variable of the environment that holds it.
    pub variable: Key<Filled>,
    /// `…_command`: a program that prints it.
    pub command: Key<Program>,
}

/// A secret by the name of its key, as [`key`](fn@key) is for others.
#[macro_export]
macro_rules! secret {
    ($name:literal) => {
        $crate::reader::SecretKey::new([
            $name,
            concat!($name, "_file"),
            concat!($name, "_env"),
            concat!($name, "_command"),
        ])
    };
}

impl SecretKey {
    /// From the names of the four keys.
    #[must_use]
    pub const fn new(names: [&'static str; 4]) -> Self {
        let [literal, file, variable, command] = names;
        Self {
            literal: key(literal, Hidden),
            file: key(file, FilePath).about("The file that holds the secret."),
            variable: key(variable, Filled).about("The environment variable that holds the secret."),
            // Somebody has to run it again.
            command: key(command, Program).about("The program that prints the secret.").by_host(),
        }
    }

    /// The names of the four keys.
    pub fn names(&self) -> [&'static str; 4] {
        [self.literal.name, self.file.name, self.variable.name, self.command.name]
    }

    /// What holds without it.
    #[must_use]
    pub const fn or(mut self, otherwise: &'static str) -> Self {
        self.literal.otherwise = otherwise;
        self
    }

    /// A secret that only a host can honour.
    #[must_use]
    pub const fn by_host(mut self) -> Self {
        self.literal.by_host = true;
        self.file.by_host = true;
        self.variable.by_host = true;
        self
    }

    /// What it is for.
    #[must_use]
    pub const fn about(mut self, about: &'static str) -> Self {
        self.literal.about = about;
        self
    }
}

impl<K: Kind> Setting<K> {
    /// The default.
    pub fn fallback(&self) -> K::Value {
        self.key.kind.constant(self.default)
    }

    /// A key that only a host can honour.
    #[must_use]
    pub const fn by_host(mut self) -> Self {
        self.key.by_host = true;
        self
    }

    /// What it is for.
    #[must_use]
    pub const fn about(mut self, about: &'static str) -> Self {
        self.key.about = about;
        self
    }
}

impl Section<'_> {
    /// The value of a key, if the file or the environment sets it. A value of another kind is reported.
    pub fn given<K: Kind>(&self, key: &Key<K>) -> Option<K::Value> {
        let kind = &key.kind;
        let value = self.get(key.name, &kind.expected(), |item| kind.of_item(item), |text| kind.of_text(text))?;
        if let Some(word) = kind.word(&value) {
            self.check_word(key.name, word);
        }
        if kind.is_absent(&value) {
            return None;
        }
        match kind.resolved(value) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.report.error(self.spot(key.name), format!("\"{}\": {reason}", key.name));
                None
            }
        }
    }

    /// The value of a key, or its default.
    pub fn value<K: Kind>(&self, setting: &Setting<K>) -> K::Value {
        self.given(&setting.key).unwrap_or_else(|| setting.fallback())
    }
}

/// What holds where the file does not set a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Absent {
    /// A value, as JSON.
    Is(Value),
    /// Something that depends on others, in words.
    Otherwise(&'static str),
}

impl Absent {
    /// As TOML, or the words.
    pub fn text(&self) -> String {
        match self {
            Self::Is(value) => toml(value),
            Self::Otherwise(words) => (*words).to_owned(),
        }
    }
}

fn toml(value: &Value) -> String {
    match value {
        Value::Array(values) => format!("[{}]", values.iter().map(toml).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// A key of either sort, without the type of its value.
pub trait Declared: Sync {
    /// Its name.
    fn name(&self) -> &'static str;
    /// What it is for.
    fn about(&self) -> &'static str;
    /// What its value is, in a word or two: `seconds`.
    fn type_name(&self) -> String;
    /// What holds without it.
    fn absent(&self) -> Absent;
    /// Only a host can honour it.
    fn is_by_host(&self) -> bool;
    /// Its values as a JSON Schema, without the rest.
    fn values(&self) -> Value;
    /// The keys that it stands for: itself, or the four of a secret.
    fn forms(&'static self) -> Vec<&'static dyn Declared>;

    /// Its JSON Schema.
    fn schema(&self) -> Value {
        let mut schema = Map::new();
        schema.insert("description".to_owned(), json!(self.about()));
        if let Value::Object(values) = self.values() {
            schema.extend(values);
        }
        match self.absent() {
            Absent::Is(value) => drop(schema.insert("default".to_owned(), value)),
            Absent::Otherwise(words) => drop(schema.insert("x-otherwise".to_owned(), json!(words))),
        }
        Value::Object(schema)
    }
}

impl<K: Kind + Sync + 'static> Declared for Key<K> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about.trim_start()
    }

    fn type_name(&self) -> String {
        self.kind.type_name()
    }

    fn absent(&self) -> Absent {
        Absent::Otherwise(self.otherwise)
    }

    fn is_by_host(&self) -> bool {
        self.by_host
    }

    fn values(&self) -> Value {
        self.kind.schema()
    }

    fn forms(&'static self) -> Vec<&'static dyn Declared> {
        vec![self]
    }
}

impl Declared for SecretKey {
    fn name(&self) -> &'static str {
        self.literal.name
    }

    fn about(&self) -> &'static str {
        self.literal.about.trim_start()
    }

    fn type_name(&self) -> String {
        "[secret](#secrets)".to_owned()
    }

    fn absent(&self) -> Absent {
        self.literal.absent()
    }

    fn is_by_host(&self) -> bool {
        self.literal.by_host
    }

    fn values(&self) -> Value {
        self.literal.values()
    }

    fn forms(&'static self) -> Vec<&'static dyn Declared> {
        vec![&self.literal, &self.file, &self.variable, &self.command]
    }
}

impl<K: Kind + Sync + 'static> Declared for Setting<K>
where
    K::Constant: Sync,
{
    fn name(&self) -> &'static str {
        self.key.name
    }

    fn about(&self) -> &'static str {
        self.key.about.trim_start()
    }

    fn type_name(&self) -> String {
        self.key.kind.type_name()
    }

    fn absent(&self) -> Absent {
        Absent::Is(self.key.kind.shown(self.default))
    }

    fn is_by_host(&self) -> bool {
        self.key.by_host
    }

    fn values(&self) -> Value {
        self.key.kind.schema()
    }

    fn forms(&'static self) -> Vec<&'static dyn Declared> {
        vec![self]
    }
}

/// The keys of a section.
pub struct SectionKeys {
    /// As it is written: `[jwt]`, `[[jwt.issuers]]`.
    pub label: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Whether it is one table, several, or either.
    pub shape: Shape,
    /// What is declared; a secret once.
    pub declared: &'static [&'static dyn Declared],
}

/// Whether a section is one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// It is.
    Table,
    /// It is a list of tables.
    List,
    /// It may be written either way.
    Either,
}

impl SectionKeys {
    /// The key of this name.
    pub fn find(&self, name: &str) -> Option<&'static dyn Declared> {
        self.keys().find(|key| key.name() == name)
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &'static dyn Declared> {
        self.declared.iter().flat_map(|declared| declared.forms())
    }

    /// The names on the way to it: `jwt`, `issuers`.
    pub fn path(&self) -> impl Iterator<Item = &'static str> {
        self.label.trim_matches(['[', ']']).split('.')
    }
}

/// Declares the keys of a section: a `static` for each, documented by what it is for, and one for the section with all of them.
///
/// ```
/// use pgdog_jwt::reader::{Flag, Setting, setting};
///
/// pgdog_jwt::keys! {
///     /// Somebody's own section.
///     pub static OWN: Table = "[own]" {
///         /// Whether it is on.
///         ENABLED: Setting<Flag> = setting("enabled", Flag, false);
///     }
/// }
/// assert_eq!(OWN.declared[0].about(), "Whether it is on.");
/// ```
#[macro_export]
macro_rules! keys {
    (
        $(#[doc = $of:literal])+ $vis:vis static $list:ident: $shape:ident = $label:literal {
            $($(#[doc = $about:literal])+ $name:ident: $type:ty = $value:expr;)*
        }
    ) => {
        $($(#[doc = $about])+ $vis static $name: $type = $value.about(concat!($($about),+));)*

        $(#[doc = $of])+
        $vis static $list: $crate::reader::SectionKeys = $crate::reader::SectionKeys {
            label: $label,
            about: concat!($($of),+),
            shape: $crate::reader::Shape::$shape,
            declared: &[$(&$name),*],
        };
    };
}
