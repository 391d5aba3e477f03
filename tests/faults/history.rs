//! What PostgreSQL says of a batch, held against what its pods wrote down.

use std::collections::{BTreeMap, BTreeSet};

/// One start of a pod's program, in its own words.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Execution {
    pub(crate) item: i32,
    pub(crate) attempt: i32,
    pub(crate) run: i64,
    pub(crate) pod: String,
    /// Seconds of the machine's uptime, which all pods share.
    pub(crate) started: f64,
    pub(crate) ended: Option<Ended>,
}

/// How it ended, if it lived to say so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ended {
    pub(crate) at: f64,
    pub(crate) exit_code: i32,
}

/// A line of `pgbatch.runs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) id: i64,
    pub(crate) item: i32,
    pub(crate) attempt: i32,
    pub(crate) state: String,
}

/// A line of `pgbatch.items`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) number: i32,
    pub(crate) state: String,
    pub(crate) attempts: i32,
    /// How many of its attempts were to fail.
    pub(crate) fails: i32,
}

/// What a fault may do beyond nothing at all.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Allowed {
    /// Attempts of one item beyond those that were to fail and the one that was to succeed: runs that were lost.
    pub(crate) further_attempts: i32,
    /// Executions that were killed before they could write down their end.
    pub(crate) cut_off: usize,
    /// Whether Kubernetes may give a Job another pod, once the first one has ended: a drained or lost node.
    pub(crate) replaced_pods: bool,
    /// Whether a pod may be told to stop by somebody else's hand: SIGTERM's 143 is then no end of its own.
    pub(crate) stopped_pods: bool,
}

/// The exit code of a pod that was told to stop.
const STOPPED: i32 = 143;

/// What does not agree, in words; all empty = nothing was lost and nothing doubled.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// An item without its one success.
    pub(crate) lost: Vec<String>,
    /// Something that happened twice, or two things at once that must follow each other.
    pub(crate) doubled: Vec<String>,
    /// Anything else.
    pub(crate) wrong: Vec<String>,
}

/// Reads the pods' lines: `start ITEM ATTEMPT RUN POD UPTIME` and `end ITEM ATTEMPT RUN POD UPTIME EXIT-CODE`.
///
/// # Errors
/// A line that no pod writes.
pub(crate) fn read_record(text: &str) -> Result<Vec<Execution>, String> {
    let mut executions: Vec<Execution> = Vec::new();
    for line in text.lines() {
        let bad = || format!("no pod writes {line:?}");
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<i32>().ok()).ok_or_else(bad);
        let (item, attempt, run) = (number(1)?, number(2)?, i64::from(number(3)?));
        let pod = (*words.get(4).ok_or_else(bad)?).to_owned();
        let at: f64 = words.get(5).and_then(|word| word.parse().ok()).ok_or_else(bad)?;
        match words[0] {
            "start" if words.len() == 6 => {
                executions.push(Execution { item, attempt, run, pod, started: at, ended: None });
            }
            "end" if words.len() == 7 => {
                let ended = Ended { at, exit_code: number(6)? };
                let begun = executions.iter_mut().rev().find(|e| e.pod == pod && e.run == run);
                begun.ok_or_else(bad)?.ended = Some(ended);
            }
            _ => return Err(bad()),
        }
    }
    Ok(executions)
}

/// Compares the two.
pub(crate) fn compare(items: &[Item], runs: &[Run], executions: &[Execution], allowed: Allowed) -> Findings {
    let mut findings = Findings::default();
    for item in items {
        let mut mine: Vec<&Run> = runs.iter().filter(|run| run.item == item.number).collect();
        mine.sort_by_key(|run| run.attempt);
        let mut lived: Vec<&Execution> = executions.iter().filter(|e| e.item == item.number).collect();
        lived.sort_by(|a, b| a.started.total_cmp(&b.started));
        check_success(item, &mine, &lived, &mut findings);
        check_attempts(item, &mine, allowed, &mut findings);
        check_starts(item, &mine, &lived, allowed, &mut findings);
        check_one_at_a_time(item, &lived, &mut findings);
    }
    let numbers: BTreeSet<i32> = items.iter().map(|item| item.number).collect();
    for stranger in executions.iter().filter(|e| !numbers.contains(&e.item)) {
        findings.wrong.push(format!("an execution of no item: {stranger:?}"));
    }
    let cut_off = executions.iter().filter(|e| e.ended.is_none()).count();
    if cut_off > allowed.cut_off {
        findings.wrong.push(format!("{cut_off} executions were cut off"));
    }
    findings
}

fn succeeded(execution: &Execution) -> bool {
    execution.ended.is_some_and(|ended| ended.exit_code == 0)
}

/// It succeeded exactly once, by both accounts, in the same run.
fn check_success(item: &Item, runs: &[&Run], executions: &[&Execution], findings: &mut Findings) {
    let number = item.number;
    let said: Vec<i64> = runs.iter().filter(|run| run.state == "succeeded").map(|run| run.id).collect();
    let done: Vec<i64> = executions.iter().filter(|e| succeeded(e)).map(|e| e.run).collect();
    if item.state != "succeeded" || said.is_empty() || done.is_empty() {
        findings.lost.push(format!(
            "item {number} is {}, succeeded in runs {said:?}, by its pods in {done:?}",
            item.state
        ));
    } else if said.len() > 1 || done.len() > 1 {
        findings.doubled.push(format!("item {number} succeeded in runs {said:?}, by its pods in {done:?}"));
    } else if said != done {
        findings.wrong.push(format!("item {number} succeeded in run {said:?}, by its pods in {done:?}"));
    }
}

/// Its attempts are 1 to n, and n is what was to be.
fn check_attempts(item: &Item, runs: &[&Run], allowed: Allowed, findings: &mut Findings) {
    let number = item.number;
    let attempts: Vec<i32> = runs.iter().map(|run| run.attempt).collect();
    let upto = i32::try_from(attempts.len()).unwrap_or(i32::MAX);
    if attempts != (1..=upto).collect::<Vec<_>>() || item.attempts != upto {
        findings.wrong.push(format!("item {number} has {} attempts: {attempts:?}", item.attempts));
    }
    if upto > item.fails + 1 + allowed.further_attempts {
        findings.wrong.push(format!("item {number} took {upto} attempts, {} were to fail", item.fails));
    }
    for run in runs.iter().filter(|run| run.state == "starting" || run.state == "running") {
        findings.wrong.push(format!("item {number} still has a live run: {run:?}"));
    }
}

/// Each execution is of a run that PostgreSQL knows, each run was executed once, and ended as it was to end.
fn check_starts(
    item: &Item,
    runs: &[&Run],
    executions: &[&Execution],
    allowed: Allowed,
    findings: &mut Findings,
) {
    let number = item.number;
    let mut pods: BTreeMap<i32, BTreeSet<&str>> = BTreeMap::new();
    for execution in executions {
        if !runs.iter().any(|run| run.id == execution.run && run.attempt == execution.attempt) {
            findings.doubled.push(format!("PostgreSQL knows of no such run of item {number}: {execution:?}"));
        }
        let pods = pods.entry(execution.attempt).or_default();
        let is_new = pods.insert(&execution.pod);
        if !is_new || (pods.len() > 1 && !allowed.replaced_pods) {
            findings.doubled.push(format!("started again: {execution:?}"));
        }
        let is_to_fail = execution.attempt <= item.fails;
        let is_stopped = |ended: &Ended| allowed.stopped_pods && ended.exit_code == STOPPED;
        let ended = execution.ended.filter(|ended| !is_stopped(ended));
        if ended.is_some_and(|ended| (ended.exit_code == 0) == is_to_fail) {
            findings.wrong.push(format!("it ended otherwise than it was to: {execution:?}"));
        }
    }
    for run in runs.iter().filter(|run| run.state == "succeeded" || run.state == "failed") {
        if !pods.contains_key(&run.attempt) {
            findings.wrong.push(format!("no pod of item {number} ever started for {run:?}"));
        }
    }
}

/// No execution of it began before the one before had ended. One that was cut off has no end that is known.
fn check_one_at_a_time(item: &Item, executions: &[&Execution], findings: &mut Findings) {
    for pair in executions.windows(2) {
        if pair[0].ended.is_some_and(|ended| ended.at > pair[1].started) {
            findings.doubled.push(format!("item {} ran twice at once: {pair:?}", item.number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = "start 1 1 10 a 5.00\nstart 2 1 11 b 5.01\nend 1 1 10 a 6.00 1\nend 2 1 11 b 6.02 0\n\
                          start 1 2 12 c 7.00\nend 1 2 12 c 8.00 0\n";

    fn items() -> Vec<Item> {
        let item = |number, attempts, fails| Item { number, state: "succeeded".to_owned(), attempts, fails };
        vec![item(1, 2, 1), item(2, 1, 0)]
    }

    fn runs() -> Vec<Run> {
        let run = |id, item, attempt, state: &str| Run { id, item, attempt, state: state.to_owned() };
        vec![run(10, 1, 1, "failed"), run(11, 2, 1, "succeeded"), run(12, 1, 2, "succeeded")]
    }

    /// The numbers of what is lost, doubled and wrong.
    fn found(items: &[Item], runs: &[Run], record: &str) -> (usize, usize, usize) {
        let executions = read_record(record).unwrap();
        let Findings { lost, doubled, wrong } = compare(items, runs, &executions, Allowed::default());
        (lost.len(), doubled.len(), wrong.len())
    }

    #[test]
    fn what_agrees_gives_no_finding() {
        assert_eq!(found(&items(), &runs(), RECORD), (0, 0, 0));
    }

    #[test]
    fn an_item_without_success_is_lost() {
        let mut unfinished = items();
        unfinished[1].state = "failed".to_owned();
        assert_eq!(found(&unfinished, &runs(), RECORD).0, 1);
        assert_eq!(found(&items(), &runs(), &RECORD.replace("8.00 0", "8.00 1")), (1, 0, 1));
    }

    #[test]
    fn a_second_start_is_doubled_even_if_it_is_cut_off() {
        assert_eq!(found(&items(), &runs(), &format!("{RECORD}start 2 1 11 d 9.00\n")), (0, 1, 1));
        assert_eq!(
            found(&items(), &runs(), &format!("{RECORD}start 2 1 11 d 9.00\nend 2 1 11 d 9.01 0\n")).1,
            2
        );
    }

    #[test]
    fn two_at_once_are_doubled() {
        assert_eq!(found(&items(), &runs(), &RECORD.replace("c 7.00", "c 5.50")), (0, 1, 0));
    }

    #[test]
    fn an_execution_that_postgresql_does_not_know_is_doubled() {
        let more = "start 2 2 13 e 9.00\nend 2 2 13 e 9.50 1\n";
        assert_eq!(found(&items(), &runs(), &format!("{RECORD}{more}")).1, 1);
    }

    #[test]
    fn a_burnt_attempt_or_a_gap_is_wrong() {
        let (mut burnt, mut later) = (items(), runs());
        burnt[1].attempts = 2;
        later[1].attempt = 2;
        assert_eq!(found(&burnt, &later, &RECORD.replace("2 1 11", "2 2 11")).2, 1, "no attempt 1");
        let mut more = runs();
        more[1].state = "lost".to_owned();
        more.push(Run { id: 13, item: 2, attempt: 2, state: "succeeded".to_owned() });
        let record = "start 2 2 13 e 9.00\nend 2 2 13 e 9.50 0\n";
        let text = RECORD.replace("start 2 1 11 b 5.01\n", "").replace("end 2 1 11 b 6.02 0\n", "");
        assert_eq!(found(&burnt, &more, &format!("{text}{record}")).2, 1, "an attempt too many");
    }

    #[test]
    fn a_pod_that_was_told_to_stop_has_no_end_of_its_own() {
        let (mut twice, mut again) = (items(), runs());
        twice[1].attempts = 2;
        again[1].state = "lost".to_owned();
        again.push(Run { id: 13, item: 2, attempt: 2, state: "succeeded".to_owned() });
        let stopped = RECORD.replace("b 6.02 0", "b 6.02 143");
        let executions =
            read_record(&format!("{stopped}start 2 2 13 e 9.00\nend 2 2 13 e 9.50 0\n")).unwrap();
        let allowed = Allowed { further_attempts: 1, ..Allowed::default() };
        assert_eq!(compare(&twice, &again, &executions, allowed).wrong.len(), 1);
        let allowed = Allowed { stopped_pods: true, ..allowed };
        assert_eq!(compare(&twice, &again, &executions, allowed), Findings::default());
    }

    #[test]
    fn a_line_that_no_pod_writes_is_an_error() {
        assert!(read_record("start 1 1 x a 5.00").is_err());
        assert!(read_record("end 1 1 1 a 5.00 0").is_err(), "it never began");
    }
}
