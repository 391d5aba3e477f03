//! How the runs of a queue ended in the last hour, a bar a minute. A failure is marked below the line too: colours alone tell not everybody.

use std::fmt::Write;

use jiff::Timestamp;
use maud::{Markup, html};

use crate::metrics::{Ended, MINUTES};
use crate::people::words;

/// Of a bar.
const WIDTH: usize = 2;
/// Of the highest bar.
const HEIGHT: u32 = 20;
/// Of all, with the marks below the line.
const WHOLE: u32 = 26;

/// `ends`: the oldest minute first. `since`: from when on it was counted.
pub(super) fn sparkline(ends: &[Ended; MINUTES], since: Timestamp, now: Timestamp) -> Markup {
    let most = ends.iter().map(|minute| minute.well + minute.badly).max().unwrap_or(0).max(1);
    let (mut well, mut badly, mut marks) = (String::new(), String::new(), String::new());
    for (at, minute) in ends.iter().enumerate() {
        let x = at * WIDTH;
        let (failed, all) = (height(minute.badly, most), height(minute.well + minute.badly, most));
        // A String takes all that is written to it.
        let _ = write!(well, "{}", bar(x, HEIGHT - all, all - failed));
        let _ = write!(badly, "{}", bar(x, HEIGHT - failed, failed));
        if minute.badly > 0 {
            let _ = write!(marks, "{}", bar(x, HEIGHT + 2, WHOLE - HEIGHT - 2));
        }
    }
    let told = told(ends, since, now);
    let counted = counted(since, now);
    html! {
        svg.spark viewBox=(format!("0 0 {} {WHOLE}", MINUTES * WIDTH)) width=(MINUTES * WIDTH) height=(WHOLE) role="img" aria-label=(told) {
            title { (told) }
            rect.counted x=((MINUTES - counted) * WIDTH) y=(HEIGHT) width=(counted * WIDTH) height="1" {}
            path.running d=(well) {}
            path.failed d=(badly) {}
            path.failed d=(marks) {}
        }
    }
}

/// At least a pixel, where there was something.
fn height(count: u32, most: u32) -> u32 {
    if count == 0 {
        0
    } else {
        (u64::from(count) * u64::from(HEIGHT) / u64::from(most))
            .clamp(1, HEIGHT.into())
            .try_into()
            .unwrap_or(HEIGHT)
    }
}

fn bar(x: usize, y: u32, height: u32) -> String {
    if height == 0 { String::new() } else { format!("M{x} {y}h{WIDTH}v{height}h-{WIDTH}z") }
}

/// So many of the minutes were counted.
fn counted(since: Timestamp, now: Timestamp) -> usize {
    let passed = now.as_second().div_euclid(60) - since.as_second().div_euclid(60) + 1;
    usize::try_from(passed.max(1)).unwrap_or(MINUTES).min(MINUTES)
}

/// `214 runs ended in the last hour, 3 of them failed`
fn told(ends: &[Ended; MINUTES], since: Timestamp, now: Timestamp) -> String {
    let sum = |count: fn(&Ended) -> u32| ends.iter().map(|minute| i64::from(count(minute))).sum::<i64>();
    let (all, failed) = (sum(|minute| minute.well + minute.badly), sum(|minute| minute.badly));
    let span = match counted(since, now) {
        MINUTES => "in the last hour".to_owned(),
        _ => format!("since {}", words::clock(since, now)),
    };
    format!("{} ended {span}, {} of them failed", words::count(all, "run"), words::grouped(failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("2026-01-02T{text}Z").parse().unwrap()
    }

    #[test]
    fn failures_are_on_the_line_and_marked_below_it() {
        let mut ends = [Ended::default(); MINUTES];
        ends[58] = Ended { well: 9, badly: 1 };
        ends[59] = Ended { well: 4, badly: 0 };
        let line = sparkline(&ends, at("03:00:00"), at("05:45:10")).into_string();
        for part in [
            r#"class="running" d="M116 0h2v18h-2zM118 12h2v8h-2z""#,
            r#"class="failed" d="M116 18h2v2h-2z""#,
            r#"class="failed" d="M116 22h2v4h-2z""#,
            r#"aria-label="14 runs ended in the last hour, 1 of them failed"><title>14 runs"#,
            r#"class="counted" x="0""#,
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }

    #[test]
    fn what_was_not_counted_has_no_line_and_it_says_since_when() {
        let mut ends = [Ended::default(); MINUTES];
        ends[59].well = 1;
        let line = sparkline(&ends, at("05:41:07"), at("05:45:10")).into_string();
        assert!(line.contains(r#"class="counted" x="110" y="20" width="10""#), "{line}");
        assert!(line.contains("1 run ended since 05:41:07 UTC, 0 of them failed"), "{line}");
    }

    #[test]
    fn a_few_among_many_are_seen() {
        assert_eq!((height(1, 100_000), height(0, 9), height(u32::MAX, u32::MAX)), (1, 0, HEIGHT));
    }
}
