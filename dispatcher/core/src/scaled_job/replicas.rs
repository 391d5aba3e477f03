//! How many Jobs, and how many of those that ended: replica counts, history limits, `scalingStrategy`.

use super::object::Object;
use super::{Note, Problem, Scaling};

/// KEDA's history limits where none is given.
const HISTORY: i32 = 100;
/// KEDA's `maxReplicaCount` where none is given; the minimum comes on top of it.
const MAX_UNLESS_GIVEN: i32 = 100;
/// The most that `watch_count()` takes.
const RUNS_MAX: i32 = 10_000;

/// How many.
pub(super) struct Replicas {
    pub(super) keep_succeeded: i32,
    pub(super) keep_failed: i32,
    pub(super) scaling: Scaling,
    pub(super) pending_pod_conditions: Vec<String>,
    /// The path of each field that only some triggers obey, where it is given.
    pub(super) min_at: Option<String>,
    pub(super) strategy_at: Option<String>,
    pub(super) combine_at: Option<String>,
}

impl Replicas {
    pub(super) fn read(spec: &mut Object<'_>, notes: &mut Vec<Note>) -> Result<Self, Problem> {
        let (min_path, max_path) = (spec.at("minReplicaCount"), spec.at("maxReplicaCount"));
        let mut min = spec.whole("minReplicaCount", 0)?;
        let mut max = spec.whole("maxReplicaCount", 1)?;
        for (count, path) in [(&mut min, &min_path), (&mut max, &max_path)] {
            if count.is_some_and(|count| count > RUNS_MAX) {
                notes.push(Note::changed(path, format!("{RUNS_MAX} is the most")));
                *count = Some(RUNS_MAX);
            }
        }
        if let (Some(least), Some(most)) = (min, max)
            && least > most
        {
            notes.push(Note::changed(
                &min_path,
                format!("it is more than maxReplicaCount, so it is {most}, as with KEDA"),
            ));
            min = Some(most);
        }
        let mut scaling = Scaling {
            strategy: "default".to_owned(),
            custom_deduction: 0,
            custom_running_percentage: None,
            min_runs: min.unwrap_or(0),
            max_runs: max,
            combine: "max".to_owned(),
        };
        let mut given = (None, None);
        let mut pending_pod_conditions = vec![];
        if let Some(mut strategy) = spec.object("scalingStrategy")? {
            pending_pod_conditions = strategy.texts("pendingPodConditions")?;
            given = read_strategy(strategy, &mut scaling, notes)?;
        }
        read_rollout(spec, notes)?;
        Ok(Self {
            keep_succeeded: spec.whole("successfulJobsHistoryLimit", 0)?.unwrap_or(HISTORY),
            keep_failed: spec.whole("failedJobsHistoryLimit", 0)?.unwrap_or(HISTORY),
            scaling,
            pending_pod_conditions,
            min_at: min.map(|_| min_path),
            strategy_at: given.0,
            combine_at: given.1,
        })
    }

    pub(super) fn max_parallel(&self) -> i32 {
        self.scaling.max_runs.unwrap_or(MAX_UNLESS_GIVEN + self.scaling.min_runs)
    }
}

/// Returns where the strategy and the combination are given.
fn read_strategy(
    mut given: Object<'_>,
    scaling: &mut Scaling,
    notes: &mut Vec<Note>,
) -> Result<(Option<String>, Option<String>), Problem> {
    let strategy_path = given.at("strategy");
    let strategy = word(&mut given, "strategy", &["default", "custom", "accurate", "eager"])?;
    let (deduction_path, percentage_path) =
        (given.at("customScalingQueueLengthDeduction"), given.at("customScalingRunningJobPercentage"));
    let deduction = given.whole("customScalingQueueLengthDeduction", i32::MIN)?;
    let percentage = given.text("customScalingRunningJobPercentage")?;
    let fraction =
        percentage.as_deref().and_then(|text| text.parse::<f64>().ok()).filter(|f| (0.0..=1e6).contains(f));
    let is_custom = strategy.as_deref() == Some("custom");
    if let Some(strategy) = &strategy {
        scaling.strategy.clone_from(strategy);
    }
    match fraction {
        Some(fraction) if is_custom => {
            scaling.custom_running_percentage = Some(fraction);
            scaling.custom_deduction = deduction.unwrap_or(0);
        }
        _ => {
            if is_custom {
                "default".clone_into(&mut scaling.strategy);
                let message = "without a customScalingRunningJobPercentage that is a number the strategy is default, as with KEDA";
                notes.push(Note::changed(&strategy_path, message));
            }
            for path in
                [deduction.map(|_| deduction_path), percentage.map(|_| percentage_path)].into_iter().flatten()
            {
                notes.push(Note::ignored(
                    path,
                    "it is for the strategy custom, with a percentage that is a number",
                ));
            }
        }
    }
    let combine_path = given.at("multipleScalersCalculation");
    let combine = word(&mut given, "multipleScalersCalculation", &["max", "min", "avg", "sum"])?;
    if let Some(combine) = &combine {
        scaling.combine.clone_from(combine);
    }
    given.end(notes);
    Ok((strategy.map(|_| strategy_path), combine.map(|_| combine_path)))
}

fn read_rollout(spec: &mut Object<'_>, notes: &mut Vec<Note>) -> Result<(), Problem> {
    let old = (spec.at("rolloutStrategy"), spec.text("rolloutStrategy")?);
    let mut strategies = vec![old];
    if let Some(mut rollout) = spec.object("rollout")? {
        strategies.push((rollout.at("strategy"), rollout.text("strategy")?));
        rollout.ignore("propagationPolicy", "a change deletes no Job");
        rollout.end(notes);
    }
    for (path, strategy) in strategies {
        match strategy.as_deref() {
            Some("gradual") => notes.push(Note::ignored(path, "it is what pgbatch does always")),
            Some(_) => {
                notes.push(Note::changed(
                    path,
                    "a change stops nothing: what runs goes on with the template that it started with",
                ));
            }
            None => {}
        }
    }
    Ok(())
}

/// A text that is one of these.
pub(super) fn word(
    object: &mut Object<'_>,
    key: &'static str,
    words: &[&str],
) -> Result<Option<String>, Problem> {
    let path = object.at(key);
    match object.text(key)? {
        Some(word) if !words.contains(&word.as_str()) => {
            Err(Problem::new(path, format!("{word:?} is not known"), format!("One of {}.", words.join(", "))))
        }
        word => Ok(word),
    }
}
