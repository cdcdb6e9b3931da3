//! Averages of the last half minute: the totals are noted every now and then, and compared with those of now.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::frontend::sessions;
use crate::stats::Sums;

/// How often the totals are noted. Averages are over one to two of these.
const PERIOD: Duration = Duration::from_secs(15);

type Sample = (Instant, Vec<(String, Sums)>);

/// The last two, the older first.
static SAMPLES: Mutex<VecDeque<Sample>> = Mutex::new(VecDeque::new());

/// Notes the totals until the process ends.
pub(crate) async fn run() {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let sums = sessions::sums().into_iter().map(|(totals, sums)| (totals.database.clone(), sums)).collect();
        let mut samples = SAMPLES.lock();
        if samples.len() > 1 {
            samples.pop_front();
        }
        samples.push_back((Instant::now(), sums));
    }
}

/// What a database did since the older sample, and how many seconds that is.
pub(super) fn recent(database: &str, now: &Sums) -> (Sums, f64) {
    let samples = SAMPLES.lock();
    let Some((at, known)) = samples.front() else { return (*now, f64::MAX) };
    let earlier = known.iter().find(|(name, _)| name == database).map(|(_, sums)| *sums).unwrap_or_default();
    (now.since(&earlier), at.elapsed().as_secs_f64().max(0.001))
}
