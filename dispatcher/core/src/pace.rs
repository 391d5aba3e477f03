//! How many requests to the API server may be under way at once.
//!
//! It grows by one for each round of good answers, and shrinks when the server turns requests away (429) or takes too long: so
//! it finds what a server takes that others use, too, and what a larger one takes. The first number is what a small server
//! takes at its best; beyond it, it grows only while answers take little longer than the fastest.

/// What a small server takes at its best: more at once wait there, and are no faster.
const FIRST: f64 = 32.0;
/// However large the server is.
pub const MOST: u16 = 256;
/// Kubernetes promises 99 of 100 changes within this.
const SLOW_MS: f64 = 1000.0;
/// A request that takes so many times longer than the fastest has waited for others.
const WAITED: f64 = 4.0;

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The server has done it, or has said why not.
    Told,
    /// The server had too much to do.
    TooMany,
    /// Nobody knows: it says nothing about the server.
    None,
}

/// How many requests may be under way at once, by what came of those before.
#[derive(Debug, Clone)]
pub struct Pace {
    at_once: f64,
    fastest_ms: f64,
    /// Counts the times that it has shrunk.
    round: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { at_once: FIRST, fastest_ms: f64::INFINITY, round: 0 }
    }
}

impl Pace {
    /// So many may be under way; one at least.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to MOST")]
    pub fn at_once(&self) -> usize {
        self.at_once as usize
    }

    /// The round, to be noted when a request is sent.
    #[must_use]
    pub fn round(&self) -> u64 {
        self.round
    }

    /// A request has ended that was sent in `round` and took `took_ms` milliseconds; `was_full`: others had to wait.
    ///
    /// What was sent before it shrank says nothing of whether that was enough.
    pub fn ended(&mut self, answer: Answer, took_ms: f64, round: u64, was_full: bool) {
        let kept = match answer {
            Answer::None => return,
            Answer::TooMany => 0.5,
            Answer::Told if took_ms > SLOW_MS => 0.9,
            Answer::Told => {
                self.fastest_ms = self.fastest_ms.min(took_ms);
                if was_full && (self.at_once < FIRST || took_ms <= WAITED * self.fastest_ms) {
                    self.at_once = (self.at_once + 1.0 / self.at_once).min(f64::from(MOST));
                }
                return;
            }
        };
        if round == self.round {
            self.at_once = (self.at_once * kept).max(1.0);
            self.round += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pace after so many answers, each of a request sent at that moment.
    fn after(answers: &[(Answer, f64, usize)]) -> Pace {
        let mut pace = Pace::default();
        for &(answer, took_ms, times) in answers {
            for _ in 0..times {
                pace.ended(answer, took_ms, pace.round(), true);
            }
        }
        pace
    }

    type Case = (&'static str, &'static [(Answer, f64, usize)], usize);

    #[test]
    fn it_follows_what_the_server_says() {
        use Answer::{None, Told, TooMany};
        let cases: [Case; 9] = [
            ("at first", &[], 32),
            ("turned away once", &[(TooMany, 5.0, 1)], 16),
            ("turned away again and again", &[(TooMany, 5.0, 20)], 1),
            ("slow", &[(Told, 1500.0, 1)], 28),
            ("slow again and again", &[(Told, 1500.0, 100)], 1),
            ("no answer", &[(None, 30_000.0, 50)], 32),
            ("good answers, as fast as ever: one more a round", &[(Told, 10.0, 33)], 33),
            ("good answers that have waited for others", &[(Told, 10.0, 1), (Told, 80.0, 10_000)], 32),
            ("good answers without end", &[(Told, 10.0, 100_000)], 256),
        ];
        for (what, answers, expected) in cases {
            assert_eq!(after(answers).at_once(), expected, "{what}");
        }
    }

    #[test]
    fn it_comes_back_after_it_was_turned_away_though_answers_wait() {
        let mut pace = after(&[(Answer::Told, 10.0, 1), (Answer::TooMany, 5.0, 3)]);
        assert_eq!(pace.at_once(), 4);
        for _ in 0..600 {
            pace.ended(Answer::Told, 80.0, pace.round(), true);
        }
        assert_eq!(pace.at_once(), 32);
    }

    #[test]
    fn what_is_turned_away_together_counts_once() {
        let mut pace = Pace::default();
        let round = pace.round();
        for _ in 0..32 {
            pace.ended(Answer::TooMany, 5.0, round, true);
        }
        assert_eq!(pace.at_once(), 16);
    }

    #[test]
    fn it_does_not_grow_while_nobody_waits() {
        let mut pace = Pace::default();
        for _ in 0..1000 {
            pace.ended(Answer::Told, 10.0, pace.round(), false);
        }
        assert_eq!(pace.at_once(), 32);
    }
}
