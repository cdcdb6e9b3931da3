//! What a classifier remembers.

use super::*;

#[test]
fn no_text_that_may_hold_a_secret_is_remembered() {
    let mut classifier = classifier(GuardMode::Strict);
    let hostile = "SET \"PGDOG_jwt.token\" = 'a.b.c'; SELECT 1";
    for sql in [hostile, "SET pgdog_jwt.token 'a.b.c'", "SELECT pgdog_jwt('a.b.c')", "SELECT 1"] {
        classifier.classify(sql.as_bytes());
        let known = classifier.texts.get(sql.as_bytes()).is_some() || classifier.templates.len() > 0;
        assert_eq!(known, sql == "SELECT 1", "{sql}");
    }
    assert!(refused(classifier.classify(hostile.as_bytes())));
}

#[test]
fn a_remembered_class_keeps_signals_apart() {
    let mut classifier = Classifier::new(Policy { account: Account::Shared, ..policy(GuardMode::Strict) }, &PgQuery);
    for _ in 0..2 {
        assert_eq!(classifier.classify(b"SELECT pg_cancel_backend(pg_backend_pid())").verdict, Verdict::Allow);
        assert!(refused(classifier.classify(b"SELECT pg_cancel_backend(4711)")));
        assert!(refused(classifier.classify(b"SELECT pg_cancel_backend(4712)")));
    }
}
