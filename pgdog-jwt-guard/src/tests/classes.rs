//! What a class says of transactions, and of what a statement leaves.

use super::Access::{Read, Write};
use super::*;

#[test]
fn transactions_are_seen() {
    use Transaction::{Begin, End, Mixed, None};
    let begin = |side| Begin { side, start: false };
    let cases = [
        ("BEGIN", begin(Option::None), Write),
        ("begin isolation level repeatable read", begin(Option::None), Write),
        ("START TRANSACTION READ ONLY", Begin { side: Some(Read), start: true }, Read),
        ("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", begin(Some(Read)), Read),
        ("begin isolation level serializable, read only, deferrable", begin(Some(Write)), Write),
        ("BEGIN READ ONLY, READ WRITE", begin(Some(Write)), Write),
        ("BEGIN READ WRITE, READ ONLY", begin(Some(Write)), Write),
        ("SET TRANSACTION READ ONLY", None, Read),
        ("SET TRANSACTION READ WRITE", None, Write),
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY", None, Write),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", None, Write),
        ("COMMIT", End, Read),
        ("end", End, Read),
        ("ROLLBACK", End, Read),
        ("ABORT", End, Read),
        ("PREPARE TRANSACTION 'x'", End, Read),
        ("COMMIT AND CHAIN", Mixed, Read),
        ("COMMIT PREPARED 'x'", None, Write),
        ("SAVEPOINT a", None, Write),
        ("ROLLBACK TO a", None, Write),
        ("RELEASE a", None, Write),
        ("BEGIN; SELECT 1", Mixed, Write),
        ("BEGIN; COMMIT", Mixed, Write),
        ("BEGIN READ ONLY; SELECT 1; COMMIT", Mixed, Read),
        ("COMMIT; BEGIN", Mixed, Write),
        ("SELECT 1; SAVEPOINT x", None, Write),
        ("SELECT 1", None, Read),
    ];
    for (sql, transaction, access) in cases {
        let class = classify(GuardMode::Strict, sql);
        assert_eq!((class.transaction, class.access), (transaction, access), "{sql}");
    }
}

#[test]
fn what_cannot_be_read_is_a_write_of_unknown_effect() {
    let class = classify(GuardMode::Off, "this is not SQL");
    // Nor does anybody know that it copies nothing.
    let effects = Effects::UNKNOWN | Effects::COPY_IN;
    assert_eq!((class.access, class.effects, class.verdict), (Write, effects, Verdict::Allow));
}

#[test]
fn forgetting_statements_say_so() {
    assert_eq!(classify(GuardMode::Off, "DISCARD ALL").effects, Effects::DISCARD_ALL | Effects::FORGETS);
    assert_eq!(classify(GuardMode::Off, "RESET ALL").effects, Effects::RESETS_ALL | Effects::FORGETS);
    assert_eq!(classify(GuardMode::Standard, "DO 'begin end'").effects, Effects::UNKNOWN);
}

#[test]
fn a_statement_that_forgets_stands_alone() {
    for sql in ["DISCARD ALL", "discard all;", "RESET ALL", "/* x */ RESET ALL"] {
        assert!(classify(GuardMode::Strict, sql).effects.intersects(Effects::FORGETS), "{sql}");
    }
    let several = classify(GuardMode::Off, "RESET ALL; SELECT 1");
    assert!(several.effects.intersects(Effects::RESETS_ALL) && !several.effects.intersects(Effects::FORGETS));
}

/// What lies on a server under such a name was not judged for who executes it.
#[test]
fn what_a_statement_of_the_hosts_own_leaves_is_not_known() {
    let by_whom_nobody_guards = classify(GuardMode::Off, "EXECUTE __pgdog_jwt_1");
    assert!(by_whom_nobody_guards.effects.intersects(Effects::UNKNOWN));
}
