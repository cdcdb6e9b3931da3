//! A little chance in when an issuer is asked, so that many gateways that were started together do not ask together.

use std::time::Duration;

/// A duration between `least` of it and all of it.
pub(super) fn shortened(duration: Duration, least: f64) -> Duration {
    duration.mul_f64(least + (1.0 - least) * fraction())
}

/// Evenly from 0 to 1.
pub(super) fn fraction() -> f64 {
    let mut bytes = [0; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_shortens_by_no_more_than_it_may() {
        let draws: Vec<_> = (0..100).map(|_| shortened(Duration::from_secs(10), 0.8)).collect();
        assert!(draws.iter().all(|draw| (8.0..=10.0).contains(&draw.as_secs_f64())));
        assert!(draws.iter().any(|draw| draw != &draws[0]));
    }
}
