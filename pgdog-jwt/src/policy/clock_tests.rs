//! Clocks that step: what is decided depends on the clock of this moment and on nothing that was decided before.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use serde_json::json;

use super::{check_times, wrong_times};
use crate::claims::Claims;
use crate::config::{Issuer, KeySource};
use crate::deny::DenyReason;

/// Somewhere in 2023.
const BASE: i64 = 1_700_000_000;

fn claims(exp: i64, nbf: Option<i64>, iat: Option<i64>) -> Claims {
    let mut claims = Claims::new();
    claims.insert("exp".to_owned(), json!(exp));
    nbf.map(|nbf| claims.insert("nbf".to_owned(), json!(nbf)));
    iat.map(|iat| claims.insert("iat".to_owned(), json!(iat)));
    claims
}

fn with_leeway(leeway: Duration) -> Issuer {
    Issuer { leeway, early_leeway: Duration::ZERO, ..Issuer::new(KeySource::PemFiles(Vec::new())) }
}

fn exact() -> Issuer {
    with_leeway(Duration::ZERO)
}

fn at(seconds: i64) -> SystemTime {
    match u64::try_from(seconds) {
        Ok(after) => UNIX_EPOCH + Duration::from_secs(after),
        Err(_) => UNIX_EPOCH - Duration::from_secs(seconds.unsigned_abs()),
    }
}

fn seconds() -> impl Strategy<Value = i64> {
    BASE - 1_000..BASE + 1_000
}

proptest! {
    #[test]
    fn the_verdict_is_that_of_whole_numbers(
        now in seconds(),
        exp in seconds(),
        nbf in prop::option::of(seconds()),
        iat in prop::option::of(seconds()),
        leeway in 0..300_i64,
    ) {
        let claims = claims(exp, nbf, iat);
        let mut expected = Vec::new();
        if now >= exp + leeway {
            expected.push(DenyReason::Expired);
        }
        if nbf.is_some_and(|nbf| nbf > now + leeway) {
            expected.push(DenyReason::NotYetValid);
        }
        if iat.is_some_and(|iat| iat > now + leeway) {
            expected.push(DenyReason::IssuedInFuture);
        }
        let issuer = with_leeway(Duration::from_secs(leeway.unsigned_abs()));
        prop_assert_eq!(check_times(&claims, &issuer, at(now)).err(), expected.first().cloned());
        prop_assert_eq!(wrong_times(&claims, &issuer, at(now)).collect::<Vec<_>>(), expected);
    }

    /// Forward past `exp`, and back: refused while the clock says so, and at no other time.
    #[test]
    fn a_step_of_the_clock_counts_at_once_and_leaves_nothing(exp in seconds(), steps in prop::collection::vec(seconds(), 1..20)) {
        let claims = claims(exp, None, None);
        for now in steps {
            prop_assert_eq!(check_times(&claims, &exact(), at(now)).is_ok(), now < exp);
        }
    }

    /// Without a step back, a token that has expired stays so.
    #[test]
    fn what_has_expired_stays_so_while_time_goes_on(exp in seconds(), now in seconds(), later in 0..10_000_i64) {
        let claims = claims(exp, None, None);
        if check_times(&claims, &exact(), at(now)).is_err() {
            prop_assert!(check_times(&claims, &exact(), at(now + later)).is_err());
        }
    }

    #[test]
    fn a_fraction_of_a_second_counts(millis in 0..1_000_u64) {
        let claims = claims(BASE + 1, None, None);
        let now = at(BASE) + Duration::from_millis(millis);
        prop_assert!(check_times(&claims, &exact(), now).is_ok());
        prop_assert!(check_times(&claims, &exact(), now + Duration::from_secs(1)).is_err());
    }
}

/// A machine without a battery starts before 1970 or in it: tokens are then from the future, and refused.
#[test]
fn a_clock_that_was_never_set_lets_nobody_in_early() {
    let now = [at(0), at(-1), at(-2_000_000_000)];
    for now in now {
        let issued = claims(BASE + 60, None, Some(BASE));
        assert_eq!(check_times(&issued, &exact(), now), Err(DenyReason::IssuedInFuture));
        let begins = claims(BASE + 60, Some(BASE), None);
        assert_eq!(check_times(&begins, &exact(), now), Err(DenyReason::NotYetValid));
        assert_eq!(check_times(&claims(0, None, None), &exact(), now), Err(DenyReason::Expired));
    }
}

/// The last date that a clock of 64 bits could show is far beyond the last that a token may name.
#[test]
fn a_clock_in_the_far_future_refuses_and_does_not_overflow() {
    let now = UNIX_EPOCH + Duration::from_secs(u64::from(u32::MAX) * 1_000);
    for leeway in [Duration::ZERO, Duration::from_secs(3_600)] {
        assert_eq!(check_times(&claims(BASE, None, None), &with_leeway(leeway), now), Err(DenyReason::Expired));
    }
    assert!(check_times(&claims(BASE, Some(BASE), Some(BASE)), &with_leeway(Duration::MAX), now).is_ok());
}
