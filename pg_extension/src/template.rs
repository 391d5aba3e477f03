//! `check_job_template`: the strict check of `core`, as an ERROR of the SQL call.

use pgbatch_core::template::{Problem, check};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// Problems listed in the DETAIL.
const LISTED: usize = 5;

#[pg_extern(sql = false)]
fn check_job_template(job_template: pgrx::JsonB) {
    let Err(problems) = check(&job_template.0) else { return };
    let message = problems.first().map_or_else(String::new, Problem::told);
    let mut report =
        ErrorReport::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message, "check_job_template")
            .set_hint(
                "A job_template is the JobTemplateSpec of batch/v1: \"metadata\" and \"spec\" of a Job.",
            );
    if problems.len() > 1 {
        report = report.set_detail(list(&problems));
    }
    report.report(PgLogLevel::ERROR);
}

fn list(problems: &[Problem]) -> String {
    let mut lines: Vec<String> = problems.iter().take(LISTED).map(ToString::to_string).collect();
    if problems.len() > LISTED {
        lines.push(format!("and {} more", problems.len() - LISTED));
    }
    lines.join("\n")
}
