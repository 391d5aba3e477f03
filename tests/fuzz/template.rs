//! Any JSON as a Job template: it is refused in words, or Kubernetes' types can hold what is made of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgbatch_core::job_manifest::{ManifestContext, build};
use pgbatch_core::run::RunSpec;
use pgbatch_core::template::check;
use serde_json::{Value, json};

fuzz_target!(|data: &[u8]| {
    let Ok(template) = serde_json::from_slice::<Value>(data) else { return };
    match check(&template) {
        Ok(_) => {
            let job =
                build(&run(&template), &ManifestContext::default()).expect("a template that was let in");
            let written = serde_json::to_value(&job).expect("a Job is JSON");
            assert_eq!(serde_json::from_value(written).ok(), Some(job));
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            assert!(problems.iter().all(|problem| !problem.path.is_empty() && !problem.message.is_empty()));
        }
    }
});

fn run(template: &Value) -> RunSpec {
    serde_json::from_value(json!({
        "run": 1, "queue": "q", "batch": 1, "namespace": null, "first_item": 1, "last_item": 1, "attempt": 1, "token": "t",
        "items": [{"who": "$(me)"}], "items_per_run": 1, "job_template": template, "pending_pod_conditions": ["Ready"],
    }))
    .expect("a run")
}
