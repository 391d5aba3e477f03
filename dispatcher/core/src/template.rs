//! The strict check of a Job template: what Kubernetes would refuse, ignore or fill with defaults is told at
//! `create_queue`, with the JSON path, and not when the first Job is created.
//!
//! - [`strict`]: unknown fields and wrong types, by the field lists of `k8s-openapi`;
//! - [`rules`]: what those types leave open: missing parts, names, quantities, and what pgbatch sets itself.

mod rules;
mod strict;
mod syntax;

use k8s_openapi::api::batch::v1::JobTemplateSpec;
use serde_json::Value;

pub(crate) use self::strict::{nearest, push_key};

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Problem {
    /// As in `spec.template.spec.containers[0].image`; `$` for the template itself.
    pub path: String,
    /// What is wrong, in words that fit behind the path.
    pub message: String,
}

impl Problem {
    /// What people are told, be it by PostgreSQL or by a dispatcher.
    #[must_use]
    pub fn told(&self) -> String {
        format!("job_template is invalid at {self}")
    }
}

/// Checks a template.
///
/// # Errors
/// All problems that were found. Rules are applied only to a template whose fields and types are right.
pub fn check(template: &Value) -> Result<JobTemplateSpec, Vec<Problem>> {
    let template = strict::from_value(template)?;
    let problems = rules::check(&template);
    if problems.is_empty() { Ok(template) } else { Err(problems) }
}

#[cfg(test)]
mod tests;
