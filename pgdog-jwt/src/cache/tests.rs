//! What is remembered, for how long, and how much of it.

use std::time::Duration;

use super::*;
use crate::keys::KeySet;

fn cache(size: usize) -> TokenCache {
    TokenCache::new(size).unwrap().unwrap()
}

fn verified(issuer: usize) -> Verified {
    Verified { claims: Claims::new(), issuer, key_set: KeySet::new(Vec::new()).version() }
}

fn now_plus(seconds: u64) -> Option<SystemTime> {
    Some(SystemTime::now() + Duration::from_secs(seconds))
}

fn keep(cache: &TokenCache, token: &str, until: Option<SystemTime>) {
    cache.place(token.as_bytes()).unwrap().keep(verified(0), until);
}

fn knows(cache: &TokenCache, token: &str) -> bool {
    cache.place(token.as_bytes()).unwrap().find(|_| true).is_some()
}

#[test]
fn what_was_kept_is_found_and_nothing_else() {
    let cache = cache(100);
    cache.place(b"a token").unwrap().keep(verified(7), None);
    assert_eq!(cache.place(b"a token").unwrap().find(|_| true).unwrap().issuer, 7);
    for other in ["a tokem", "a token ", "a toke", "A token", ""] {
        assert!(!knows(&cache, other), "{other:?}");
    }
}

#[test]
fn no_size_is_no_cache() {
    assert!(TokenCache::new(0).unwrap().is_none());
}

#[test]
fn two_caches_have_different_fingerprints_of_one_token() {
    let fingerprint = |cache: &TokenCache| cache.place(b"a token").unwrap().fingerprint.0;
    let (one, other) = (cache(1), cache(1));
    assert_eq!(fingerprint(&one), fingerprint(&one));
    assert_ne!(fingerprint(&one), fingerprint(&other));
}

#[test]
fn fifty_thousand_tokens_take_the_room_of_ten_thousand() {
    let cache = cache(10_000);
    for number in 0..50_000 {
        keep(&cache, &format!("token {number}"), None);
        if number % 1000 == 0 {
            assert!(cache.stats().size <= 10_000);
        }
    }
    assert_eq!(cache.stats().size, 10_000);
    assert!(knows(&cache, "token 49999") && !knows(&cache, "token 0"));
}

#[test]
fn a_cache_of_any_size_keeps_to_it() {
    for size in [1, 2, 63, 64, 127, 128, 1000, 1023, 1024] {
        let cache = cache(size);
        for number in 0..size * 20 {
            keep(&cache, &number.to_string(), None);
        }
        let held = cache.stats().size;
        assert!(held <= size && held + MAX_SHARDS > size, "{held} of {size}");
    }
    // Room is taken when it is used.
    keep(&cache(usize::MAX), "a token", None);
}

#[test]
fn the_one_that_was_not_used_for_longest_goes() {
    let cache = cache(2);
    keep(&cache, "first", None);
    keep(&cache, "second", None);
    assert!(knows(&cache, "first"));
    keep(&cache, "third", None);
    assert!(knows(&cache, "first") && knows(&cache, "third") && !knows(&cache, "second"));
}

#[test]
fn expired_entries_make_room_before_the_cache_is_full() {
    let cache = cache(10);
    for number in 0..5 {
        keep(&cache, &number.to_string(), now_plus(0));
    }
    keep(&cache, "good", now_plus(60));
    keep(&cache, "better", now_plus(60));
    keep(&cache, "best", now_plus(60));
    assert_eq!(cache.stats().size, 3);
    assert!(knows(&cache, "good") && knows(&cache, "better") && knows(&cache, "best"));
}

#[test]
fn what_does_not_count_any_more_is_forgotten_and_no_hit() {
    let cache = cache(10);
    keep(&cache, "a token", None);
    assert!(knows(&cache, "a token"));
    assert!(cache.place(b"a token").unwrap().find(|_| false).is_none());
    assert_eq!(cache.stats(), CacheStats { hits: 1, misses: 0, size: 0 });
    assert!(!knows(&cache, "a token"));
}

#[test]
fn the_same_token_again_takes_no_more_room() {
    let cache = cache(1);
    for issuer in 0..3 {
        cache.place(b"a token").unwrap().keep(verified(issuer), None);
    }
    assert_eq!(cache.stats().size, 1);
    assert_eq!(cache.place(b"a token").unwrap().find(|_| true).unwrap().issuer, 2);
}

#[test]
fn many_threads_may_use_it_at_once() {
    let cache = cache(200);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let cache = &cache;
            scope.spawn(move || {
                for number in 0..2000 {
                    let token = format!("token {}", (number + thread) % 300);
                    if !knows(cache, &token) {
                        keep(cache, &token, now_plus(60));
                    }
                }
            });
        }
    });
    assert!(cache.stats().size <= 200);
}
