//! Several dispatchers of one batch: which of them leads, since when, and how long a standby took.

use e2e::dispatcher::Dispatcher;
use e2e::wait::until;

use crate::batch::LONG;

/// A dispatcher's word that it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lead {
    /// Which dispatcher.
    pub(crate) who: usize,
    /// The number of its lead: each is greater than the one before.
    pub(crate) epoch: i64,
    /// When it said so, in milliseconds of Unix time.
    pub(crate) since_ms: i64,
}

/// The last to say that it leads.
pub(crate) fn leader(dispatchers: &[Dispatcher]) -> Option<Lead> {
    let leads = dispatchers.iter().enumerate().filter_map(|(who, dispatcher)| {
        let log = dispatcher.logged().ok()?;
        log.lines().rev().find_map(|line| lead(who, line))
    });
    leads.max_by_key(|lead| lead.epoch)
}

/// `TIME  INFO leading epoch=N ...`
fn lead(who: usize, line: &str) -> Option<Lead> {
    let (time, rest) = line.split_once(' ')?;
    let (_, rest) = rest.split_once("INFO leading epoch=")?;
    let epoch = rest.split(' ').next()?.parse().ok()?;
    Some(Lead { who, epoch, since_ms: time.parse::<jiff::Timestamp>().ok()?.as_millisecond() })
}

/// Waits until there is a leader.
pub(crate) async fn until_led(dispatchers: &[Dispatcher]) -> Lead {
    until("a dispatcher to lead", LONG, async || leader(dispatchers)).await
}

/// Waits until another one leads than `before`, or the same one anew.
pub(crate) async fn until_led_after(dispatchers: &[Dispatcher], before: Lead) -> Lead {
    until("another dispatcher to lead", LONG, async || {
        leader(dispatchers).filter(|lead| lead.epoch > before.epoch)
    })
    .await
}

/// Waits until a dispatcher's log has so many lines with these words.
pub(crate) async fn until_logged(dispatcher: &Dispatcher, words: &str, at_least: usize) {
    until(&format!("{words:?} in {}", dispatcher.log.display()), LONG, async || {
        (logged(dispatcher, words) >= at_least).then_some(())
    })
    .await;
}

/// How many lines with these words a dispatcher has logged.
pub(crate) fn logged(dispatcher: &Dispatcher, words: &str) -> usize {
    dispatcher.logged().map_or(0, |log| log.lines().filter(|line| line.contains(words)).count())
}

/// How long it took each time, for the report: no test depends on it.
#[derive(Debug, Default)]
pub(crate) struct Takeovers(Vec<i64>);

impl Takeovers {
    /// Now, in milliseconds of Unix time.
    pub(crate) fn now_ms() -> i64 {
        jiff::Timestamp::now().as_millisecond()
    }

    /// One more.
    pub(crate) fn add(&mut self, from_ms: i64, lead: Lead) {
        self.0.push(lead.since_ms - from_ms);
    }

    /// Says how long.
    pub(crate) fn tell(&self, what: &str) {
        let mut all = self.0.clone();
        all.sort_unstable();
        eprintln!("{what}: a standby led after {all:?} ms");
    }
}
