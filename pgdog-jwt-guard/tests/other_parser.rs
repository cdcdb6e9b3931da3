//! A host with a parser of its own: the crate as it is without pg_query.
#![allow(clippy::panic, reason = "a parser with a defect")]

use pgdog_jwt_guard::names::settings_named;
use pgdog_jwt_guard::{
    Access, Account, Class, Classifier, Dialect, Effects, GuardMode, ParseError, Parser, Policy, Protected,
    ReadWriteStrategy, Tree, Value, Verdict, keeps_quotes_visible,
};

/// Reads a few texts, each in its own way.
struct Few;

impl Parser for Few {
    fn parse(&self, sql: &str) -> Result<Vec<Tree>, ParseError> {
        match sql {
            "SELECT 1" => Ok(vec![Tree::new("SelectStmt", None)]),
            "SET ROLE bob" => Ok(vec![set("role", "bob")]),
            "SET work_mem = '1MB'" => Ok(vec![set("work_mem", "1MB")]),
            "SELECT 1+1" | "SELECT set_config+1" | "DROP TABLE t" => Err(ParseError::TooDeep),
            "panic" => panic!("a defect"),
            _ => Err(ParseError::Syntax),
        }
    }
}

/// `VAR_SET_VALUE` is zero in PostgreSQL's headers, so one here.
fn set(name: &str, value: &str) -> Tree {
    let mut string = Tree::new("String", None);
    string.push("sval", Value::Text(value.into()));
    let mut constant = Tree::new("AConst", Some(10));
    constant.push("val", Value::Node(string));
    let mut set = Tree::new("VariableSetStmt", None);
    set.push("kind", Value::Num(1));
    set.push("name", Value::Text(name.into()));
    set.push("args", Value::List(vec![Value::Node(constant)]));
    set
}

fn classify(guard: GuardMode, sql: &[u8]) -> Class {
    let policy = Policy {
        guard,
        identity: true,
        account: Account::Own,
        strategy: ReadWriteStrategy::Conservative,
        protected: Protected::default(),
        cache_limit: 10,
        max_words: 1_000,
        dialect: Dialect::NONE,
    };
    let mut classifier = Classifier::new(policy, &Few);
    let class = classifier.classify(sql);
    assert_eq!(classifier.classify(sql), class, "what is remembered is the same");
    class
}

#[test]
fn trees_of_any_parser_are_judged() {
    let class = classify(GuardMode::Strict, b"SELECT 1");
    assert_eq!((class.verdict, class.access, class.effects), (Verdict::Allow, Access::Read, Effects::NONE));
    assert!(matches!(classify(GuardMode::Strict, b"SET ROLE bob").verdict, Verdict::Rewrite(_)));
    let class = classify(GuardMode::Strict, b"SET work_mem = '1MB'");
    assert_eq!((class.verdict, class.effects), (Verdict::Allow, Effects::SETTINGS));
    assert_eq!(settings_named(&Few, b"SET ROLE bob"), Some(vec!["role".to_owned()]));
}

#[test]
fn what_cannot_be_read_is_refused() {
    for sql in [&b"SELEC 1"[..], b"panic", b"SELECT '\xff'", b"DROP TABLE t", b"SELECT set_config+1"] {
        assert!(matches!(classify(GuardMode::Strict, sql).verdict, Verdict::Refuse(_)), "{sql:?}");
        let class = classify(GuardMode::Off, sql);
        assert_eq!((class.verdict, class.access), (Verdict::Allow, Access::Write), "{sql:?}");
    }
    assert_eq!(classify(GuardMode::Strict, b"SELECT 1+1").verdict, Verdict::Allow, "too deep, and names nothing");
}

#[test]
fn without_a_lexer_nothing_is_written_down() {
    let policy = Policy {
        guard: GuardMode::Off,
        identity: false,
        account: Account::Named,
        strategy: ReadWriteStrategy::Aggressive,
        protected: Protected::default(),
        cache_limit: 10,
        max_words: 1_000,
        dialect: Dialect::NONE,
    };
    assert!(Classifier::new(policy, &Few).masked(b"SELECT 1").is_none());
}

#[test]
fn encodings_in_which_quotes_hide_are_told() {
    assert!(keeps_quotes_visible("UTF8") && !keeps_quotes_visible("SJIS"));
}
