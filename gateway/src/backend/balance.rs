//! Which of several equal servers takes the next statement.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rand::RngExt;

use crate::config::LoadBalancingStrategy as Strategy;

/// A server to choose.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    /// Its number in the cluster.
    pub(crate) node: usize,
    pub(crate) weight: u8,
    /// Connections in use.
    pub(crate) active: usize,
}

/// The choices of one cluster so far.
#[derive(Debug)]
pub(crate) struct Balancer {
    strategy: Strategy,
    turn: AtomicUsize,
    /// By number of the server.
    credits: Mutex<Vec<i32>>,
}

impl Balancer {
    pub(crate) fn new(strategy: Strategy, nodes: usize) -> Self {
        Self { strategy, turn: AtomicUsize::new(0), credits: Mutex::new(vec![0; nodes]) }
    }

    pub(crate) fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// Whether a weight of 0 means "only when there is no other".
    pub(crate) fn weighs(&self) -> bool {
        self.strategy == Strategy::WeightedRoundRobin
    }

    /// The number of the server that comes next. Asking does not change whose turn it is: see [`Self::took`].
    pub(crate) fn next(&self, candidates: impl Iterator<Item = Candidate> + Clone) -> Option<usize> {
        let mut first_two = candidates.clone();
        let only = first_two.next()?;
        if first_two.next().is_none() {
            return Some(only.node);
        }
        let chosen = match self.strategy {
            Strategy::Random => nth(candidates, |count| rand::rng().random_range(0..count)),
            Strategy::RoundRobin => nth(candidates, |count| self.turn.load(Ordering::Relaxed) % count),
            Strategy::LeastActiveConnections => {
                let least = candidates.clone().map(|candidate| candidate.active).min()?;
                // Equally busy ones share: otherwise the first of an idle cluster gets everything.
                let equals = candidates.filter(move |candidate| candidate.active == least);
                nth(equals, |count| rand::rng().random_range(0..count))
            }
            Strategy::WeightedRoundRobin => {
                let credits = self.credits.lock();
                let credit =
                    |candidate: &Candidate| credits.get(candidate.node).copied().unwrap_or(0) + share(candidate);
                // The first of equals, as `max_by_key` takes the last.
                candidates.reduce(|best, other| if credit(&other) > credit(&best) { other } else { best })
            }
        };
        chosen.map(|candidate| candidate.node)
    }

    /// Server `node` was used. A server without a free connection is asked for, not used, on the fast path: were its turn
    /// over then, two servers would never share evenly.
    pub(crate) fn took(&self, node: usize, candidates: impl Iterator<Item = Candidate> + Clone) {
        if candidates.clone().nth(1).is_none() {
            return;
        }
        match self.strategy {
            Strategy::RoundRobin => {
                self.turn.fetch_add(1, Ordering::Relaxed);
            }
            // Smooth weighted round robin: all gain their weight, the one that is used pays for all. Each gets its share
            // in every run of as many turns as the weights add up to, spread over it.
            Strategy::WeightedRoundRobin => {
                let mut credits = self.credits.lock();
                let mut total = 0;
                for candidate in candidates {
                    total += share(&candidate);
                    if let Some(credit) = credits.get_mut(candidate.node) {
                        *credit += share(&candidate);
                    }
                }
                if let Some(credit) = credits.get_mut(node) {
                    // Servers come and go; what one is owed from before is bounded.
                    *credit = (*credit - total).clamp(-LARGEST_DEBT, LARGEST_DEBT);
                }
            }
            Strategy::Random | Strategy::LeastActiveConnections => {}
        }
    }
}

/// Bounds credit, in weights. More than 64 servers of the largest weight.
const LARGEST_DEBT: i32 = 1 << 14;

/// Servers of weight 0 come only among themselves, and share evenly then.
fn share(candidate: &Candidate) -> i32 {
    i32::from(candidate.weight.max(1))
}

fn nth(candidates: impl Iterator<Item = Candidate> + Clone, choose: impl FnOnce(usize) -> usize) -> Option<Candidate> {
    let count = candidates.clone().count();
    candidates.clone().nth(choose(count.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each server was used in `turns` turns.
    fn shares(balancer: &Balancer, candidates: &[Candidate], turns: usize) -> Vec<usize> {
        let mut counts = vec![0; candidates.len()];
        for _ in 0..turns {
            let node = balancer.next(candidates.iter().copied()).expect("a server");
            balancer.took(node, candidates.iter().copied());
            counts[node] += 1;
        }
        counts
    }

    fn servers(weights: &[u8]) -> Vec<Candidate> {
        weights.iter().enumerate().map(|(node, weight)| Candidate { node, weight: *weight, active: 0 }).collect()
    }

    #[test]
    fn random_is_even_and_blind_to_weights() {
        let counts = shares(&Balancer::new(Strategy::Random, 4), &servers(&[255, 1, 0, 100]), 40_000);
        // Standard deviation of each count: 87.
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 500), "{counts:?}");
    }

    #[test]
    fn round_robin_takes_turns() {
        let balancer = Balancer::new(Strategy::RoundRobin, 3);
        assert_eq!(shares(&balancer, &servers(&[1, 2, 3]), 3_000), [1_000, 1_000, 1_000]);
    }

    #[test]
    fn asking_does_not_use_a_turn_up() {
        for strategy in [Strategy::RoundRobin, Strategy::WeightedRoundRobin] {
            let balancer = Balancer::new(strategy, 2);
            let both = servers(&[1, 1]);
            let first = balancer.next(both.iter().copied());
            assert_eq!(balancer.next(both.iter().copied()), first);
            balancer.took(first.unwrap_or(0), both.iter().copied());
            assert_ne!(balancer.next(both.iter().copied()), first, "{strategy:?}");
        }
    }

    #[test]
    fn weights_are_shares() {
        let balancer = Balancer::new(Strategy::WeightedRoundRobin, 3);
        assert_eq!(shares(&balancer, &servers(&[5, 3, 2]), 10), [5, 3, 2]);
        assert_eq!(shares(&balancer, &servers(&[5, 3, 2]), 1_000), [500, 300, 200]);
    }

    #[test]
    fn weighted_turns_are_spread() {
        let balancer = Balancer::new(Strategy::WeightedRoundRobin, 2);
        let both = servers(&[3, 1]);
        let mut turns = Vec::new();
        for _ in 0..8 {
            let node = balancer.next(both.iter().copied()).expect("a server");
            balancer.took(node, both.iter().copied());
            turns.push(node);
        }
        assert_eq!(turns, [0, 0, 1, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn a_server_that_was_away_does_not_catch_up_at_once() {
        let balancer = Balancer::new(Strategy::WeightedRoundRobin, 2);
        let both = servers(&[100, 100]);
        for _ in 0..10_000 {
            balancer.took(0, both[..1].iter().copied());
        }
        assert_eq!(shares(&balancer, &both, 100), [50, 50]);
    }

    #[test]
    fn the_least_busy_server_is_taken_and_equals_share() {
        let mut three = servers(&[1, 1, 1]);
        three[0].active = 2;
        let counts = shares(&Balancer::new(Strategy::LeastActiveConnections, 3), &three, 10_000);
        assert_eq!(counts[0], 0);
        assert!(counts[1].abs_diff(5_000) < 300, "{counts:?}");
    }
}
