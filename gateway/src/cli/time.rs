//! Points in time as people read them.

use std::time::{SystemTime, UNIX_EPOCH};

const DAY: i64 = 24 * 60 * 60;

/// The last one of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    i64::try_from(elapsed).unwrap_or(i64::MAX)
}

/// `2026-02-03 04:05:06 UTC`. `None` for years that no token means.
pub(crate) fn date(seconds: i64) -> Option<String> {
    if !(0..=LAST_SECOND).contains(&seconds) {
        return None;
    }
    let (year, month, day) = civil(seconds.div_euclid(DAY));
    let rest = seconds.rem_euclid(DAY);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    Some(format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC"))
}

/// `2026-02-03T04:05:06.000007Z` (RFC 3339), in the years that it can write.
pub(crate) fn timestamp(time: SystemTime) -> String {
    let elapsed = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX).min(LAST_SECOND);
    let (year, month, day) = civil(seconds.div_euclid(DAY));
    let rest = seconds.rem_euclid(DAY);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:06}Z", elapsed.subsec_micros())
}

/// The date of a day, counted from 1970-01-01, by walking over the years. Months are counted from 1.
fn civil(mut day: i64) -> (i64, i64, i64) {
    let mut year = 1970;
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    while day >= 365 + i64::from(leap(year)) {
        day -= 365 + i64::from(leap(year));
        year += 1;
    }
    let months = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in months {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    (year, month, day + 1)
}

/// `in 59 min`, `3 s ago`.
pub(super) fn distance(seconds: i64, now: i64) -> String {
    let apart = seconds.abs_diff(now);
    let text = match apart {
        0..120 => format!("{apart} s"),
        120..7_200 => format!("{} min", apart / 60),
        7_200..172_800 => format!("{} h", apart / 3_600),
        _ => format!("{} days", apart / 86_400),
    };
    if seconds >= now { format!("in {text}") } else { format!("{text} ago") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(date(seconds).as_deref(), Some(text));
        }
        assert_eq!(date(-1), None);
        assert_eq!(date(i64::MAX), None);
    }

    #[test]
    fn timestamps_have_microseconds() {
        let time = UNIX_EPOCH + std::time::Duration::from_micros(951_782_400_000_007);
        assert_eq!(timestamp(time), "2000-02-29T00:00:00.000007Z");
    }

    #[test]
    fn distances_say_which_way() {
        assert_eq!(distance(100, 40), "in 60 s");
        assert_eq!(distance(0, 3_600), "60 min ago");
    }
}
