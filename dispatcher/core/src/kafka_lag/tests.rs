use super::*;
use crate::scaling::{OpenJobs, Policy, jobs_to_create};

const POLICY: LagPolicy = LagPolicy {
    lag_threshold: 10,
    activation_lag_threshold: 0,
    offset_reset: OffsetReset::Latest,
    allow_idle_consumers: false,
    scale_to_zero_on_invalid_offset: false,
    exclude_persistent_lag: false,
    limit_to_partitions_with_lag: false,
    ensure_even_distribution_of_partitions: false,
    keda_parity: false,
};

fn partition(committed: impl Into<Option<i64>>, start: i64, end: i64) -> Partition {
    Partition { committed: committed.into(), start, end, high_watermark: end, is_stuck: false }
}

fn earliest(policy: LagPolicy) -> LagPolicy {
    LagPolicy { offset_reset: OffsetReset::Earliest, ..policy }
}

/// The table of what KEDA counts, and what there is: committed, start, end, high watermark, and the lag by KEDA and by us,
/// for latest and for earliest.
#[test]
fn the_lag_of_a_partition_by_keda_and_by_us() {
    let open = Partition { high_watermark: 3, ..partition(0, 0, 0) };
    for (what, partition, keda, ours) in [
        ("some records", partition(4, 0, 9), (5, 5), (5, 5)),
        ("none left", partition(9, 0, 9), (0, 0), (0, 0)),
        ("no commit, records", partition(None, 2, 9), (1, 9), (1, 7)),
        ("no commit, empty", partition(None, 0, 0), (1, 0), (0, 0)),
        ("no commit, emptied by retention", partition(None, 5, 5), (1, 5), (0, 0)),
        ("before the log's start", partition(2, 4, 5), (3, 3), (1, 1)),
        ("before an emptied log", partition(2, 5, 5), (3, 3), (0, 0)),
        ("beyond the end", partition(10, 0, 5), (-5, -5), (0, 5)),
        ("an open transaction", open, (3, 3), (0, 0)),
    ] {
        let lag = |policy: LagPolicy| partition_lag(&partition, &policy);
        let parity = LagPolicy { keda_parity: true, ..POLICY };
        assert_eq!((lag(parity), lag(earliest(parity))), keda, "KEDA: {what}");
        assert_eq!((lag(POLICY), lag(earliest(POLICY))), ours, "{what}");
    }
}

#[test]
fn an_invalid_offset_counts_nothing_where_that_is_wanted() {
    let policy = LagPolicy { scale_to_zero_on_invalid_offset: true, ..POLICY };
    for policy in [policy, earliest(policy)] {
        assert_eq!(partition_lag(&partition(None, 0, 9), &policy), 0);
        assert_eq!(partition_lag(&partition(20, 0, 9), &policy), 0, "beyond the end");
        assert_eq!(partition_lag(&partition(3, 0, 9), &policy), 6);
        let parity = LagPolicy { keda_parity: true, ..policy };
        assert_eq!(partition_lag(&partition(None, 0, 9), &parity), 0);
    }
}

/// The partitions' lags, and what is asked for.
fn value(lags: &[i64], policy: LagPolicy) -> f64 {
    let partitions: Vec<Partition> = lags.iter().map(|lag| partition(0, 0, *lag)).collect();
    reading(&partitions, &policy).value
}

#[test]
fn no_more_jobs_are_asked_for_than_there_are_partitions() {
    assert_eq!(value(&[500, 0, 0], POLICY), 30.0);
    assert_eq!(value(&[9, 9, 9], POLICY), 27.0);
    // 39 / 10 is 3, which is not above 3: KEDA divides whole numbers.
    assert_eq!(value(&[39, 0, 0], POLICY), 39.0);
    assert_eq!(value(&[40, 0, 0], POLICY), 30.0);
    assert_eq!(value(&[500, 0, 0], LagPolicy { allow_idle_consumers: true, ..POLICY }), 500.0);
}

#[test]
fn no_more_jobs_than_partitions_with_lag_where_that_is_wanted() {
    let policy = LagPolicy { limit_to_partitions_with_lag: true, ..POLICY };
    assert_eq!(value(&[500, 0, 3], policy), 20.0);
    assert_eq!(value(&[5, 0, 3], policy), 8.0);
    assert_eq!(value(&[0, 0, 0], policy), 0.0);
}

#[test]
fn jobs_share_the_partitions_evenly_where_that_is_wanted() {
    let policy = LagPolicy { ensure_even_distribution_of_partitions: true, ..POLICY };
    // 10 partitions: 1, 2, 5 or 10 Jobs.
    for (lag, wanted) in [(0, 10.0), (10, 10.0), (11, 20.0), (25, 50.0), (51, 100.0), (5000, 100.0)] {
        let mut lags = vec![0; 10];
        lags[0] = lag;
        assert_eq!(value(&lags, policy), wanted, "{lag}");
        assert_eq!(value(&lags, LagPolicy { allow_idle_consumers: true, ..policy }), wanted, "{lag}");
    }
    assert!(!reading(&[partition(0, 0, 0)], &policy).is_active, "without lag nothing is active");
}

#[test]
fn it_is_active_above_the_activation_and_not_at_it() {
    let policy = LagPolicy { activation_lag_threshold: 5, ..POLICY };
    assert!(!reading(&[partition(0, 0, 5)], &policy).is_active);
    assert!(reading(&[partition(0, 0, 6)], &policy).is_active);
    assert!(!reading(&[], &POLICY).is_active);
}

#[test]
fn stuck_partitions_count_for_being_active_only() {
    let policy = LagPolicy { exclude_persistent_lag: true, ..POLICY };
    let stuck = Partition { is_stuck: true, ..partition(0, 0, 7) };
    let both = reading(&[stuck, partition(0, 0, 5)], &policy);
    assert_eq!((both.value, both.is_active), (5.0, true));
    let alone = reading(&[stuck], &policy);
    assert_eq!((alone.value, alone.is_active), (0.0, true));
    assert_eq!(reading(&[stuck], &POLICY).value, 7.0, "not excluded unless asked for");
    let fresh = Partition { committed: None, ..stuck };
    assert_eq!(reading(&[fresh], &earliest(policy)).value, 7.0, "without an offset nothing can be stuck");
    assert_eq!(total(&[stuck, partition(0, 0, 5)], &policy), 12);
}

/// KEDA sums a lag below 0, so that it hides the lag of another partition.
#[test]
fn an_offset_beyond_the_end_hides_nothing_unless_it_is_to_be_as_with_keda() {
    let partitions = [partition(10, 0, 5), partition(0, 0, 8)];
    assert_eq!(reading(&partitions, &POLICY).value, 8.0);
    assert_eq!(reading(&partitions, &LagPolicy { keda_parity: true, ..POLICY }).value, 3.0);
}

#[test]
fn a_list_of_partitions() {
    let listed = |list| (0..=13).filter(|p| is_listed(list, *p)).collect::<Vec<i32>>();
    assert_eq!(listed("1,2,10-12"), [1, 2, 10, 11, 12]);
    assert_eq!(listed("7 , 3-3"), [3, 7]);
    assert_eq!(listed("5-4"), [0_i32; 0]);
}

#[test]
fn a_lag_becomes_jobs() {
    let jobs = |partitions: &[Partition], running| {
        let open = OpenJobs { running, pending: 0 };
        let policy = Policy {
            strategy: crate::scaling::Strategy::Default,
            custom_deduction: 0,
            custom_running_percentage: None,
            combine: crate::scaling::Combine::Max,
            min: 0,
            max: Some(100),
        };
        jobs_to_create(&[reading(partitions, &POLICY)], &policy, open)
    };
    let partitions = [partition(0, 0, 15), partition(0, 0, 4)];
    assert_eq!(jobs(&partitions, 0), 2);
    assert_eq!(jobs(&partitions, 1), 1);
    assert_eq!(jobs(&partitions, 2), 0);
    assert_eq!(jobs(&[partition(3, 0, 3)], 0), 0);
}
