//! Texts of which something must not be written down, and numbers that stand for texts.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pg_query::FingerprintOptions;

use super::class::Effects;
use super::functions::SET_CONFIG;
use super::tree::{Tree, Value};
use super::{Classifier, MAX_CACHED_TEXT};

/// Functions that take a key, a password or a connection string (pgcrypto, dblink).
const TAKES_SECRET: [&str; 8] = ["pgp_", "crypt", "encrypt", "decrypt", "hmac", "digest", "dblink", "postgres_fdw"];

/// Whether a node says that a constant near it may be a secret.
pub(super) fn nested(node: &Tree) -> Effects {
    let is_secret = match node.kind {
        // PASSWORD '…' of roles and user mappings, and options of foreign servers.
        "DefElem" => names_secret(node.text("defname")),
        // Their connection strings may have a password.
        "CreateSubscriptionStmt" | "AlterSubscriptionStmt" => true,
        "VariableSetStmt" => names_secret(node.text("name")),
        "FuncCall" => {
            let name = node.last_name("funcname");
            let argument = node.list("args").first().and_then(Value::node).and_then(Tree::string_constant);
            TAKES_SECRET.iter().any(|prefix| name.starts_with(prefix))
                || (name == SET_CONFIG && argument.is_some_and(names_secret))
        }
        _ => false,
    };
    if is_secret { Effects::SECRET } else { Effects::NONE }
}

fn names_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "passwd", "secret", "token", "pgdog_jwt"].iter().any(|word| name.contains(word))
}

/// The text with `$1`, `$2`… in place of its constants; `None` where one may be left.
pub(crate) fn without_constants(sql: &str) -> Option<String> {
    let masked = catch_unwind(AssertUnwindSafe(|| pg_query::normalize(sql))).ok()?.ok()?;
    let mut rest = masked.as_bytes();
    while let Some(at) = memchr::memchr2(b'\'', b'$', rest) {
        // Only `$1` is no beginning of a string.
        if rest.get(at) == Some(&b'\'') || !rest.get(at + 1).is_some_and(u8::is_ascii_digit) {
            return None;
        }
        rest = rest.get(at + 1..).unwrap_or_default();
    }
    Some(masked)
}

/// pg_query's number for a text, which is the same for texts that differ in constants alone. Tables whose names differ in
/// digits are told apart.
fn fingerprint(sql: &[u8]) -> Option<u64> {
    let sql = std::str::from_utf8(sql).ok()?;
    let fingerprint = || pg_query::fingerprint(sql, 0, FingerprintOptions::FULL_RELNAME);
    catch_unwind(AssertUnwindSafe(fingerprint)).ok()?.ok().map(|fingerprint| fingerprint.value)
}

impl Classifier {
    /// The fingerprint of a text, remembered as its class is; `None` for a text that cannot be read.
    pub(crate) fn fingerprint(&mut self, sql: &[u8]) -> Option<u64> {
        // By its template, so that every worker gives the same to the same statement.
        let text = self.scanner.template(sql).map_or(sql, |(template, _)| template);
        if text.len() > MAX_CACHED_TEXT {
            return fingerprint(text);
        }
        if let Some(known) = self.fingerprints.get(text) {
            return known;
        }
        let number = fingerprint(text);
        self.fingerprints.put(text, number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::policy;
    use super::*;
    use crate::router::GuardMode;

    fn is_secret(sql: &str) -> bool {
        let mut classifier = Classifier::new(policy(GuardMode::Off));
        classifier.classify(sql.as_bytes()).effects.intersects(Effects::SECRET)
    }

    #[test]
    fn statements_with_secrets_are_known() {
        for sql in [
            "ALTER ROLE a PASSWORD 'x'",
            "create user a with login encrypted password 'x'",
            "ALTER USER MAPPING FOR a SERVER s OPTIONS (SET password 'x')",
            "CREATE SUBSCRIPTION s CONNECTION 'host=h password=x' PUBLICATION p",
            "SET \"pgdog_jwt.token\" = 'x'",
            "SET U&\"pgdog\\005fjwt.token\" = 'x'",
            "SELECT 1; ALTER ROLE a PASSWORD 'x'",
            "SELECT set_config('app.api_token', 'x', false)",
            "SELECT pgp_sym_encrypt('a', 'key')",
            "SELECT * FROM dblink('password=x', 'SELECT 1') AS t(a int)",
        ] {
            assert!(is_secret(sql), "{sql}");
        }
        for sql in ["SELECT 'password'", "ALTER ROLE a LOGIN", "INSERT INTO password VALUES ('x')"] {
            assert!(!is_secret(sql), "{sql}");
        }
    }

    #[test]
    fn no_constant_is_left() {
        for sql in ["ALTER ROLE a PASSWORD 'swordfish'", "SELECT 1; CREATE USER a PASSWORD 'swordfish'"] {
            if let Some(masked) = without_constants(sql) {
                assert!(!masked.contains("swordfish"), "{masked}");
            }
        }
        assert_eq!(without_constants("SELECT 1; ALTER ROLE a PASSWORD $$swordfish$$ -- 'x'"), None);
    }

    #[test]
    fn constants_do_not_change_a_fingerprint() {
        let mut classifier = Classifier::new(policy(GuardMode::Off));
        for (one, other) in [
            ("SELECT a FROM t WHERE b = 1", "SELECT a FROM t WHERE b = 'x'"),
            ("SELECT a FROM t WHERE b IN (1, 2, 3)", "SELECT a FROM t WHERE b IN (1, 2)"),
            ("INSERT INTO t VALUES (1, 'x'), (2, 'y')", "INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'z')"),
        ] {
            let number = classifier.fingerprint(one.as_bytes());
            assert!(number.is_some());
            assert_eq!(number, classifier.fingerprint(other.as_bytes()), "{one}");
            assert_eq!(number, fingerprint(one.as_bytes()), "as pg_query says: {one}");
        }
        assert_ne!(classifier.fingerprint(b"SELECT a FROM t"), classifier.fingerprint(b"SELECT b FROM t"));
        assert_eq!(classifier.fingerprint(b"SELECT FROM WHERE"), None);
    }
}
