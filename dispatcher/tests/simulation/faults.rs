//! What can go wrong in one world, and how often. Each seed has some of the faults only: where everything fails at once,
//! little happens in between, and what needs one fault and a long calm is never seen.

use fastrand::Rng;

/// Rates in thousandths of what they are about.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Dispatchers: one or two, and after how many polls the next crash comes at the latest; 0 = none.
    pub(crate) dispatchers: u64,
    pub(crate) crash_within_polls: u64,
    /// Per call to PostgreSQL: the session breaks before it, or after it; the call or its answer takes long.
    pub(crate) store_lost: u32,
    pub(crate) store_unheard: u32,
    pub(crate) store_slow: u32,
    /// Per second: the lead is lost though the connection stands; a connection ends while nothing is said.
    pub(crate) lead_lost: u32,
    pub(crate) store_cut: u32,
    /// Per second: somebody's transaction keeps a batch or a run locked.
    pub(crate) locks: u32,
    /// Per request to the API server: lost, carried out without an answer, late, refused.
    pub(crate) api_lost: u32,
    pub(crate) api_unheard: u32,
    pub(crate) api_slow: u32,
    pub(crate) api_refused: u32,
    /// Per event of a watch: late, sent twice, the watch breaks, falls silent; and per break: 410 Gone.
    pub(crate) watch_late: u32,
    pub(crate) watch_twice: u32,
    pub(crate) watch_broken: u32,
    pub(crate) watch_silent: u32,
    pub(crate) watch_gone: u32,
    /// Per second: pods evicted, drained, deleted; nodes lost; Jobs deleted by hand; a namespace deleted.
    pub(crate) evicted: u32,
    pub(crate) drained: u32,
    pub(crate) pod_deleted: u32,
    pub(crate) node_lost: u32,
    pub(crate) job_deleted: u32,
    pub(crate) namespace_gone: u32,
    /// Per pod: it does not start for a while.
    pub(crate) pod_waits: u32,
    /// Per container: it fails, hangs, reports items, and per report: the report is late.
    pub(crate) fails: u32,
    pub(crate) hangs: u32,
    pub(crate) reports: u32,
    pub(crate) report_late: u32,
}

impl Faults {
    /// Those of one seed.
    pub(crate) fn draw(dice: &mut Rng) -> Self {
        // Half of the worlds are without a given fault; the others have it seldom or often.
        fn rate(dice: &mut Rng, most: u32) -> u32 {
            if dice.bool() { 0 } else { dice.u32(1..=most).min(dice.u32(1..=most)) }
        }
        Self {
            dispatchers: dice.u64(1..=2),
            crash_within_polls: if dice.bool() { 0 } else { dice.u64(2..=2000) },
            store_lost: rate(dice, 80),
            store_unheard: rate(dice, 80),
            store_slow: rate(dice, 80),
            lead_lost: rate(dice, 60),
            store_cut: rate(dice, 60),
            locks: rate(dice, 150),
            api_lost: rate(dice, 150),
            api_unheard: rate(dice, 150),
            api_slow: rate(dice, 150),
            api_refused: rate(dice, 300),
            watch_late: rate(dice, 300),
            watch_twice: rate(dice, 200),
            watch_broken: rate(dice, 60),
            watch_silent: rate(dice, 20),
            watch_gone: dice.u32(0..=1000),
            evicted: rate(dice, 100),
            drained: rate(dice, 60),
            pod_deleted: rate(dice, 40),
            node_lost: rate(dice, 30),
            job_deleted: rate(dice, 60),
            namespace_gone: rate(dice, 10),
            pod_waits: rate(dice, 200),
            fails: rate(dice, 500),
            hangs: rate(dice, 200),
            reports: rate(dice, 600),
            report_late: rate(dice, 300),
        }
    }
}
