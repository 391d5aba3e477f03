use jiff::ToSpan;
use jiff::tz::TimeZoneDatabase;

use super::*;

/// What comes after a moment: expression, zone, the moment, and the next occurrences, with the zone's offset.
type Case = (&'static str, &'static str, &'static str, &'static [&'static str]);

const PLAIN: [Case; 14] = [
    ("0 2 * * *", "UTC", "2026-01-31T02:00:00Z", &["2026-02-01T02:00Z", "2026-02-02T02:00Z"]),
    ("0 2 * * *", "UTC", "2026-01-31T01:59:59.999Z", &["2026-01-31T02:00Z"]),
    ("0 2 * * *", "UTC", "1969-12-31T23:59:59.5Z", &["1970-01-01T02:00Z"]),
    (
        "*/15 9-10 * * MON-FRI",
        "Europe/Paris",
        "2026-06-05T10:40+02:00",
        &["2026-06-05T10:45+02:00", "2026-06-08T09:00+02:00"],
    ),
    (
        "*/20 * * * * *",
        "Asia/Kathmandu",
        "2026-06-05T10:40:30+05:45",
        &["2026-06-05T10:40:40+05:45", "2026-06-05T10:41:00+05:45"],
    ),
    // Day of the month or day of the week, where both are given.
    (
        "0 0 13 * FRI",
        "UTC",
        "2026-02-07T00:00Z",
        &["2026-02-13T00:00Z", "2026-02-20T00:00Z", "2026-02-27T00:00Z", "2026-03-06T00:00Z"],
    ),
    ("0 0 L * *", "UTC", "2026-02-01T00:00Z", &["2026-02-28T00:00Z", "2026-03-31T00:00Z"]),
    ("0 0 * * FRI#L", "UTC", "2026-02-01T00:00Z", &["2026-02-27T00:00Z", "2026-03-27T00:00Z"]),
    ("0 0 29 2 *", "UTC", "2026-01-01T00:00Z", &["2028-02-29T00:00Z", "2032-02-29T00:00Z"]),
    ("* * 29 2 *", "America/New_York", "2096-03-02T00:00Z", &["2104-02-29T00:00-05:00"]),
    ("@daily", "Asia/Tokyo", "2026-01-01T00:00Z", &["2026-01-02T00:00+09:00"]),
    ("@hourly", "Asia/Tokyo", "2026-01-01T00:00Z", &["2026-01-01T10:00+09:00"]),
    ("  0   2 * jan,DEC sun ", "UTC", "2026-01-31T00:00Z", &["2026-12-06T02:00Z"]),
    ("0 0 31 2 *", "UTC", "2026-01-01T00:00Z", &[]),
];

/// The clock leaps: from 02:00 to 03:00 in Paris on 29 March 2026, in New York on 8 March; from 02:00 to 02:30 on Lord Howe
/// Island on 4 October; from 00:00 to 01:00 in Cairo on 24 April; over all of 30 December 2011 in Samoa.
const LEAPS: [Case; 13] = [
    (
        "30 2 * * *",
        "Europe/Paris",
        "2026-03-28T00:00Z",
        &["2026-03-28T02:30+01:00", "2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"],
    ),
    (
        "0 2 * * *",
        "Europe/Paris",
        "2026-03-29T00:59:59Z",
        &["2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00"],
    ),
    ("0 3 * * *", "Europe/Paris", "2026-03-28T12:00Z", &["2026-03-29T03:00+02:00", "2026-03-30T03:00+02:00"]),
    // Times that fall together occur once.
    (
        "0,30 2,3 * * *",
        "Europe/Paris",
        "2026-03-29T00:00Z",
        &["2026-03-29T03:00+02:00", "2026-03-29T03:30+02:00", "2026-03-30T02:00+02:00"],
    ),
    (
        "0 2,14 * * *",
        "America/New_York",
        "2026-03-08T05:00Z",
        &["2026-03-08T03:00-04:00", "2026-03-08T14:00-04:00"],
    ),
    (
        "30 1 * * *",
        "America/New_York",
        "2026-03-08T05:00Z",
        &["2026-03-08T01:30-05:00", "2026-03-09T01:30-04:00"],
    ),
    (
        "15 2 * * *",
        "Australia/Lord_Howe",
        "2026-10-03T00:00Z",
        &["2026-10-04T02:30+11:00", "2026-10-05T02:15+11:00"],
    ),
    ("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00Z", &["2026-04-24T01:00+03:00", "2026-04-25T00:00+03:00"]),
    (
        "0 12 * * *",
        "Pacific/Apia",
        "2011-12-29T23:00Z",
        &["2011-12-31T00:00+14:00", "2011-12-31T12:00+14:00"],
    ),
    (
        "*/30 * * * *",
        "Europe/Paris",
        "2026-03-29T00:00Z",
        &["2026-03-29T01:30+01:00", "2026-03-29T03:00+02:00", "2026-03-29T03:30+02:00"],
    ),
    (
        "30 * * * *",
        "Europe/Paris",
        "2026-03-29T00:00Z",
        &["2026-03-29T01:30+01:00", "2026-03-29T03:30+02:00"],
    ),
    ("*/15 2 * * *", "Europe/Paris", "2026-03-29T00:00Z", &["2026-03-30T02:00+02:00"]),
    (
        "*/15 2 * * *",
        "Australia/Lord_Howe",
        "2026-10-03T15:00Z",
        &["2026-10-04T02:30+11:00", "2026-10-04T02:45+11:00", "2026-10-05T02:00+11:00"],
    ),
];

/// The clock is set back: from 03:00 to 02:00 in Paris on 25 October 2026, from 02:00 to 01:00 in New York on 1 November,
/// from 02:00 to 01:30 on Lord Howe Island on 5 April.
const REPEATS: [Case; 9] = [
    (
        "30 2 * * *",
        "Europe/Paris",
        "2026-10-24T12:00Z",
        &["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"],
    ),
    ("30 2 * * *", "Europe/Paris", "2026-10-25T01:10Z", &["2026-10-26T02:30+01:00"]),
    ("0 3 * * *", "Europe/Paris", "2026-10-25T00:30Z", &["2026-10-25T03:00+01:00"]),
    (
        "0 1,13 * * *",
        "America/New_York",
        "2026-11-01T04:00Z",
        &["2026-11-01T01:00-04:00", "2026-11-01T13:00-05:00"],
    ),
    (
        "45 1 * * *",
        "Australia/Lord_Howe",
        "2026-04-04T12:00Z",
        &["2026-04-05T01:45+11:00", "2026-04-06T01:45+10:30"],
    ),
    (
        "*/30 * * * *",
        "Europe/Paris",
        "2026-10-25T00:10Z",
        &[
            "2026-10-25T02:30+02:00",
            "2026-10-25T02:00+01:00",
            "2026-10-25T02:30+01:00",
            "2026-10-25T03:00+01:00",
        ],
    ),
    (
        "30 * * * *",
        "America/New_York",
        "2026-11-01T05:00Z",
        &["2026-11-01T01:30-04:00", "2026-11-01T01:30-05:00", "2026-11-01T02:30-05:00"],
    ),
    (
        "*/30 1 * * *",
        "America/New_York",
        "2026-11-01T05:30Z",
        &["2026-11-01T01:00-05:00", "2026-11-01T01:30-05:00", "2026-11-02T01:00-05:00"],
    ),
    (
        "45 1 * * * ",
        "America/New_York",
        "2026-11-01T05:00Z",
        &["2026-11-01T01:45-04:00", "2026-11-02T01:45-05:00"],
    ),
];

fn instant(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn check(cases: &[Case]) {
    for (cron, zone, after, expected) in cases {
        let schedule = Schedule::parse(cron, zone).unwrap();
        let first = instant(after);
        let mut at = first;
        for wanted in *expected {
            let next = schedule.next_after(at).unwrap();
            assert_eq!(next, instant(wanted), "{cron} in {zone} after {at}");
            at = next;
        }
        if expected.is_empty() {
            assert_eq!(schedule.next_after(first), None, "{cron} in {zone}");
        } else {
            assert_eq!(schedule.latest(first, at), Some(at), "{cron} in {zone}: the latest");
        }
    }
}

#[test]
fn what_comes_next() {
    check(&PLAIN);
}

#[test]
fn where_the_clock_leaps_no_time_of_the_day_is_lost() {
    check(&LEAPS);
}

#[test]
fn where_the_clock_is_set_back_no_time_of_the_day_comes_twice() {
    check(&REPEATS);
}

/// Every setting of the clock that there is in 2026, in all zones.
#[test]
fn wherever_a_clock_is_set_each_day_has_its_time_once_and_each_minute_that_is_shown_counts() {
    let mut settings = 0;
    for zone in TimeZoneDatabase::bundled().available() {
        let of_the_day = Schedule::parse("30 1 * * *", zone.as_str()).unwrap();
        let shown = Schedule::parse("*/10 * * * *", zone.as_str()).unwrap();
        let year = shown.zone.following(instant("2026-01-01T00:00Z")).map(|change| change.timestamp());
        for change in year.take_while(|change| *change < instant("2027-01-01T00:00Z")) {
            settings += 1;
            for two in occurrences(&of_the_day, change - 72.hours(), change + 72.hours()).windows(2) {
                let date = |at| of_the_day.zone.to_datetime(at).date();
                assert_eq!((date(two[1]) - date(two[0])).get_days(), 1, "{zone:?}: {two:?}");
            }
            let (from, upto) = (change - 150.minutes(), change + 150.minutes());
            let tens: Vec<_> = std::iter::successors(Some(from + 1.minutes()), |at| Some(*at + 1.minutes()))
                .take_while(|at| *at <= upto)
                .filter(|at| shown.zone.to_datetime(*at).minute() % 10 == 0)
                .collect();
            assert_eq!(occurrences(&shown, from, upto), tens, "{zone:?} at {change}");
        }
    }
    assert!(settings > 200, "only {settings}");
}

fn occurrences(schedule: &Schedule, from: Timestamp, upto: Timestamp) -> Vec<Timestamp> {
    std::iter::successors(schedule.next_after(from), |at| schedule.next_after(*at))
        .take_while(|at| *at <= upto)
        .collect()
}

#[test]
fn the_latest_is_found_however_far_back() {
    let yearly = Schedule::parse("0 0 1 1 *", "UTC").unwrap();
    let upto = instant("2026-12-31T00:00Z");
    assert_eq!(yearly.latest(instant("1990-01-01T00:00Z"), upto), Some(instant("2026-01-01T00:00Z")));
    assert_eq!(yearly.latest(instant("2026-01-01T00:00Z"), upto), None);
    let each_second = Schedule::parse("* * * * * *", "UTC").unwrap();
    assert_eq!(each_second.latest(instant("1990-01-01T00:00Z"), upto), Some(upto));
}

#[test]
fn what_is_no_schedule_is_said_in_words() {
    let long = "1 ".repeat(9);
    for (cron, says) in [
        ("", "cron is invalid: it is empty"),
        ("* * * *", "cron is invalid: Pattern must have 5 or 6 fields"),
        (long.as_str(), "cron is invalid: "),
        ("61 * * * *", "cron is invalid: Number out of bounds"),
        ("0 2 * * MOON", "cron is invalid: CronPattern contains illegal character 'M' in part 'MOON'"),
        ("0 0 * * * * 2026", "cron is invalid: "),
        ("@reboot", "cron is invalid: "),
        (", 2 * * *", "cron is invalid: a field names nothing"),
        ("0 2 * , *", "cron is invalid: a field names nothing"),
        ("every day", "cron is invalid: "),
    ] {
        let problem = Schedule::parse(cron, "UTC").unwrap_err().to_string();
        assert!(problem.starts_with(says), "{cron:?}: {problem}");
    }
    assert_eq!(
        Schedule::parse("* * * * *", "Mars/Olympus").unwrap_err().to_string(),
        "timezone is invalid: \"Mars/Olympus\" is not known"
    );
}
