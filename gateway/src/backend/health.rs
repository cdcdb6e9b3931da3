//! What a server says of itself when the monitor asks: its role, how far it has got, and so how far it lags behind.

use std::time::{Duration, Instant};

use super::connection::Connection;
use super::conversation::{Answer, ConversationError};

/// All that the monitor wants to know, in one round trip.
const LOOK: &str = "SELECT s.standby, \
    CASE WHEN s.standby THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END, \
    CASE WHEN s.standby THEN pg_catalog.pg_last_wal_receive_lsn() END, \
    CASE WHEN s.standby THEN (extract(epoch FROM pg_catalog.clock_timestamp() \
        OPERATOR(pg_catalog.-) pg_catalog.pg_last_xact_replay_timestamp()) * 1000)::pg_catalog.int8 END, \
    CASE WHEN NOT s.standby THEN pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()) END \
    FROM (SELECT pg_catalog.pg_is_in_recovery() AS standby) s";

/// For servers that keep their write-ahead log to themselves, as some hosted ones do.
const LOOK_AT_ROLE: &str = "SELECT pg_catalog.pg_is_in_recovery()";

/// What a server said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) in_recovery: bool,
    /// Position in the write-ahead log: written by a primary, replayed by a standby.
    pub(crate) position: Option<u64>,
    /// Received by a standby.
    received: Option<u64>,
    /// Age of the newest transaction that a standby has replayed.
    age: Option<Duration>,
    /// Of a primary.
    pub(crate) timeline: Option<u32>,
}

/// How one server is asked.
#[derive(Debug, Default)]
pub(crate) struct Question {
    /// It has refused to tell more than its role.
    role_only: bool,
}

impl Question {
    /// Asks. The caller sets the time limit.
    pub(crate) async fn ask(&mut self, connection: &mut Connection) -> Result<Report, ConversationError> {
        if !self.role_only {
            match connection.query(LOOK).await {
                Ok(answer) => return Ok(Report::read(&answer)),
                // No such feature, function, or right. Anything else may be otherwise the next time: a server that is
                // promoted between two parts of the question says that it is in another state (55000).
                Err(ConversationError::Refused(fields)) => {
                    self.role_only = matches!(fields.code.as_str(), "0A000" | "42883" | "42501");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Report::read(&connection.query(LOOK_AT_ROLE).await?))
    }
}

impl Report {
    fn read(answer: &Answer) -> Self {
        Self {
            in_recovery: answer.value(0) == "t",
            position: position(answer.value(1)),
            received: position(answer.value(2)),
            age: answer.value(3).parse().ok().map(Duration::from_millis),
            // The first eight digits of a file of the log (PostgreSQL documentation, "WAL Internals").
            timeline: answer.value(4).get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok()),
        }
    }
}

impl Report {
    /// How far a standby is behind, in bytes of the write-ahead log. `written`: how far the primary was a moment ago; 0:
    /// not known.
    pub(crate) fn bytes_behind(&self, written: u64) -> u64 {
        let newest = self.received.unwrap_or(0).max(written);
        self.position.map_or(0, |replayed| newest.saturating_sub(replayed))
    }
}

/// Reads a `pg_lsn`.
pub(super) fn position(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    Some(u64::from(u32::from_str_radix(high, 16).ok()?) << 32 | u64::from(u32::from_str_radix(low, 16).ok()?))
}

/// How far a replica lags, from one look to the next.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    caught_up: Option<Instant>,
}

impl Lag {
    /// The lag at this moment. `written`: how far the primary was a moment ago; 0: not known.
    ///
    /// A replica that has replayed all there is does not lag, however old its newest transaction is. Behind a primary that
    /// was idle for an hour, the first transaction for a moment looks like an hour's lag; it is not longer than the
    /// replica has been seen to be behind.
    pub(crate) fn measure(&mut self, report: &Report, written: u64) -> Duration {
        if report.bytes_behind(written) == 0 {
            self.caught_up = Some(Instant::now());
            return Duration::ZERO;
        }
        match (self.caught_up, report.age) {
            (Some(then), age) => then.elapsed().min(age.unwrap_or(Duration::MAX)),
            (None, age) => age.unwrap_or(Duration::ZERO),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standby(replayed: u64, received: u64, age: u64) -> Report {
        Report {
            in_recovery: true,
            position: Some(replayed),
            received: Some(received),
            age: Some(Duration::from_millis(age)),
            timeline: None,
        }
    }

    #[test]
    fn answers_are_read() {
        let row = ["f", "16/B374D848", "", "", "0000000A0000001600000002"];
        let mut answer = Answer::of(vec![row.map(|value| Some(value.to_owned())).to_vec()]);
        let report = Report::read(&answer);
        assert_eq!((report.in_recovery, report.position, report.timeline), (false, Some(0x16_B374_D848), Some(10)));

        answer.rows = vec![vec![Some("t".to_owned())]];
        assert_eq!(Report::read(&answer), Report { in_recovery: true, ..Report::default() });
    }

    #[test]
    fn a_replica_that_has_replayed_everything_does_not_lag() {
        assert_eq!(Lag::default().measure(&standby(100, 100, 3_600_000), 100), Duration::ZERO);
    }

    #[test]
    fn bytes_are_counted_to_the_newest_position_that_is_known() {
        assert_eq!(standby(100, 150, 0).bytes_behind(0), 50);
        assert_eq!(standby(100, 150, 0).bytes_behind(170), 70);
        assert_eq!(standby(100, 90, 0).bytes_behind(80), 0);
        assert_eq!(Report::default().bytes_behind(100), 0, "a server that does not tell is not behind");
    }

    #[test]
    fn a_replica_that_is_behind_lags_by_the_age_of_what_it_shows() {
        assert_eq!(Lag::default().measure(&standby(100, 200, 5_000), 0), Duration::from_secs(5));
    }

    #[test]
    fn a_replica_that_receives_nothing_is_compared_with_the_primary() {
        assert_eq!(Lag::default().measure(&standby(100, 100, 5_000), 101), Duration::from_secs(5));
    }

    #[test]
    fn the_first_transaction_after_an_idle_hour_is_no_lag() {
        let mut lag = Lag::default();
        lag.measure(&standby(100, 100, 3_600_000), 100);
        assert!(lag.measure(&standby(100, 200, 3_600_000), 200) < Duration::from_secs(1));
    }
}
