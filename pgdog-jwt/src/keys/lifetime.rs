//! How long a fetched set counts: what the issuer asks for, within the bounds of the configuration. By a clock that only
//! runs forward: setting the system's time makes no key younger or older.

use std::time::{Duration, Instant};

use reqwest::header::{AGE, CACHE_CONTROL, HeaderMap};

use crate::config::JwksSource;

/// When a set is fetched again, as a share of its time to live: four fifths, a tenth of that more or less.
const REFRESH: std::ops::RangeInclusive<f64> = 0.72..=0.88;

/// The times of one fetched set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Lifetime {
    fetched: Instant,
    ttl: Duration,
    refresh_after: Duration,
}

impl Lifetime {
    /// For a set that came just now. `chance` is from 0 to 1.
    pub(super) fn new(source: &JwksSource, asked_for: Option<Duration>, now: Instant, chance: f64) -> Self {
        let least = source.min_cache_ttl.min(source.cache_ttl);
        let most = source.max_cache_ttl.max(source.cache_ttl);
        let ttl = asked_for.map_or(source.cache_ttl, |asked| asked.clamp(least, most));
        let share = REFRESH.start() + (REFRESH.end() - REFRESH.start()) * chance;
        Self { fetched: now, ttl, refresh_after: ttl.mul_f64(share) }
    }

    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.fetched)
    }

    pub(super) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Whether the issuer should have been asked by now.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        self.age(now) >= self.ttl
    }

    /// Whether logins may still go by the set.
    pub(super) fn is_usable(&self, max_stale: Duration, now: Instant) -> bool {
        self.age(now) < max_stale.max(self.ttl)
    }

    /// How long until the issuer is asked again.
    pub(super) fn until_refresh(&self, now: Instant) -> Duration {
        self.refresh_after.saturating_sub(self.age(now))
    }
}

/// How long the answer is fresh, as its sender says (RFC 9111 section 4.2); `None` when it does not say.
pub(super) fn asked_for(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(CACHE_CONTROL).into_iter().filter_map(|value| value.to_str().ok());
    let directives = values.flat_map(|value| value.split(',')).map(|directive| directive.trim().to_ascii_lowercase());
    let seconds = directives.filter_map(|directive| match directive.as_str() {
        "no-store" | "no-cache" => Some(0),
        _ => directive.strip_prefix("max-age=").map(|seconds| seconds.trim_matches('"').parse::<u32>().unwrap_or(0)),
    });
    // Of several, the shortest.
    let seconds = seconds.min()?;
    let age = headers.get(AGE).and_then(|age| age.to_str().ok()?.trim().parse::<u32>().ok()).unwrap_or(0);
    Some(Duration::from_secs(seconds.saturating_sub(age).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    const SECOND: Duration = Duration::from_secs(1);

    fn source(ttl: u32, least: u32, most: u32) -> JwksSource {
        let mut source = JwksSource::new("https://issuer.example");
        (source.cache_ttl, source.min_cache_ttl, source.max_cache_ttl) = (SECOND * ttl, SECOND * least, SECOND * most);
        source
    }

    fn ttl(source: &JwksSource, asked_for: Option<u32>) -> u64 {
        Lifetime::new(source, asked_for.map(|seconds| SECOND * seconds), Instant::now(), 0.5).ttl().as_secs()
    }

    #[test]
    fn the_issuer_decides_within_bounds() {
        let bounds = source(300, 60, 3600);
        for (asked, expected) in [(None, 300), (Some(0), 60), (Some(90), 90), (Some(600), 600), (Some(86_400), 3600)] {
            assert_eq!(ttl(&bounds, asked), expected, "{asked:?}");
        }
        let crossed = source(10, 60, 5);
        assert_eq!([None, Some(1), Some(30)].map(|asked| ttl(&crossed, asked)), [10, 10, 10]);
    }

    #[test]
    fn a_set_is_fetched_again_before_it_is_old() {
        let now = Instant::now();
        for (chance, after) in [(0.0, 216), (0.5, 240), (1.0, 264)] {
            let lifetime = Lifetime::new(&source(300, 60, 300), None, now, chance);
            assert_eq!(lifetime.until_refresh(now).as_secs_f64().round(), f64::from(after));
            assert_eq!(lifetime.until_refresh(now + SECOND * 300), Duration::ZERO);
        }
    }

    #[test]
    fn a_set_counts_up_to_the_greatest_age_and_not_beyond() {
        let now = Instant::now();
        let lifetime = Lifetime::new(&source(300, 60, 300), None, now, 0.5);
        let max_stale = SECOND * 3600;
        for (seconds, stale, usable) in
            [(0, false, true), (299, false, true), (300, true, true), (3599, true, true), (3600, true, false)]
        {
            let later = now + SECOND * seconds;
            assert_eq!((lifetime.is_stale(later), lifetime.is_usable(max_stale, later)), (stale, usable), "{seconds}");
        }
        assert!(lifetime.is_usable(Duration::ZERO, now + SECOND * 299), "never less than the time to live");
        assert!(!lifetime.is_usable(Duration::ZERO, now + SECOND * 300));
    }

    #[test]
    fn a_moment_before_the_fetch_is_no_age() {
        let now = Instant::now() + SECOND * 10;
        let lifetime = Lifetime::new(&source(300, 60, 300), None, now, 0.5);
        assert_eq!(lifetime.age(now - SECOND * 10), Duration::ZERO);
    }

    #[test]
    fn cache_control_is_read_as_the_rfc_says() {
        let asked = |values: &[&'static str], age: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CACHE_CONTROL, HeaderValue::from_static(value));
            }
            if let Some(age) = age {
                headers.insert(AGE, HeaderValue::from_static(age));
            }
            asked_for(&headers).map(|asked| asked.as_secs())
        };
        assert_eq!(asked(&[], None), None);
        assert_eq!(asked(&["public"], None), None);
        assert_eq!(asked(&["public, max-age=3600, must-revalidate"], None), Some(3600));
        assert_eq!(asked(&["public", "Max-Age=\"60\""], None), Some(60));
        assert_eq!(asked(&["max-age=600, max-age=60"], None), Some(60));
        assert_eq!(asked(&["no-cache, max-age=60"], None), Some(0));
        assert_eq!(asked(&["NO-STORE"], None), Some(0));
        assert_eq!(asked(&["max-age=60"], Some("20")), Some(40));
        assert_eq!(asked(&["max-age=60"], Some("90")), Some(0));
        assert_eq!(asked(&["max-age=-1"], None), Some(0));
        assert_eq!(asked(&["max-age=99999999999999999999"], None), Some(0));
    }
}
