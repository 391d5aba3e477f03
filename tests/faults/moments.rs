//! Random moments, which can be had again by their seed.

use std::time::{Duration, SystemTime};

/// A seeded sequence of moments.
pub(crate) struct Moments(u64);

impl Moments {
    /// From `PGBATCH_FAULT_SEED`, or else from the clock; says which.
    pub(crate) fn new(what: &str) -> Self {
        let given = std::env::var("PGBATCH_FAULT_SEED").ok().and_then(|seed| seed.parse().ok());
        let clock = SystemTime::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_secs());
        let seed: u64 = given.unwrap_or(clock);
        eprintln!("{what}: PGBATCH_FAULT_SEED={seed}");
        Self(seed)
    }

    /// A number below `upto`: splitmix64.
    pub(crate) fn below(&mut self, upto: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % upto.max(1)
    }

    /// Lets a random part of `longest` go by. This waits for nothing: when the fault comes is what is random.
    pub(crate) async fn pass(&mut self, longest: Duration) {
        let ms = self.below(u64::try_from(longest.as_millis()).unwrap_or(u64::MAX));
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}
