//! The time in log lines.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cli::time;

thread_local! {
    static CLOCK: RefCell<Clock> = const { RefCell::new(Clock { second: 0, text: String::new() }) };
}

/// Appends the time as [`time::timestamp`] has it.
pub(super) fn write_now(line: &mut String) {
    CLOCK.with_borrow_mut(|clock| clock.write(SystemTime::now(), line));
}

/// Of a second that has been written before, only the microseconds are new.
struct Clock {
    second: u64,
    /// `2026-02-03T04:05:06.`
    text: String,
}

impl Clock {
    fn write(&mut self, now: SystemTime, line: &mut String) {
        let elapsed = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.text.is_empty() || self.second != elapsed.as_secs() {
            self.text = time::timestamp(now);
            self.text.truncate(self.text.len().saturating_sub("000000Z".len()));
            self.second = elapsed.as_secs();
        }
        line.push_str(&self.text);
        let micros = elapsed.subsec_micros();
        let digit = |unit: u32| char::from(b'0' + (micros / unit % 10) as u8);
        line.extend([100_000, 10_000, 1_000, 100, 10, 1].map(digit));
        line.push('Z');
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_clock_goes_on() {
        let mut clock = Clock { second: 0, text: String::new() };
        for micros in [951_782_400_000_007, 951_782_400_999_999, 951_782_401_000_000, 0, 123_456] {
            let now = UNIX_EPOCH + Duration::from_micros(micros);
            let mut line = String::new();
            clock.write(now, &mut line);
            assert_eq!(line, time::timestamp(now));
        }
    }
}
