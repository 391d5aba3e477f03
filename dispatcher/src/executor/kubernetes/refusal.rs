//! What an error of the API server means for a start: it exists already, try again later, or never.

use std::time::Duration;

use kube::core::Status;
use pgbatch_core::snapshot::Waiting;

use super::facts::QUOTA;
use crate::store::with_causes;

/// What an error means.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// There is a Job of this name.
    NameTaken,
    /// It may pass: not again before this long.
    Later(Duration),
    /// The same request fails again.
    Never,
}

/// What `error` means for the create request that it answers.
pub(super) fn verdict(error: &kube::Error) -> Verdict {
    let kube::Error::Api(status) = error else {
        // The connection, its timeouts, its certificates, the credentials: not the request's fault.
        return Verdict::Later(Duration::ZERO);
    };
    if status.is_already_exists() {
        return Verdict::NameTaken;
    }
    match status.code {
        400 | 405 | 406 | 413 | 415 | 422 => Verdict::Never,
        403 if !passes(status) => Verdict::Never,
        _ => Verdict::Later(asks_for(error)),
    }
}

/// A 403 that is not about rights: the quota is used up, or the namespace is on its way out.
fn passes(status: &Status) -> bool {
    status.message.contains(QUOTA) || status.message.contains("is being terminated")
}

/// For how long the API server asks to be left alone.
pub(super) fn asks_for(error: &kube::Error) -> Duration {
    let kube::Error::Api(status) = error else { return Duration::ZERO };
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    Duration::from_secs(u64::from(seconds))
}

/// Why the create was refused, for people: in the API server's words, where it has any.
pub(super) fn why(error: &kube::Error) -> Waiting {
    let reason = match error {
        kube::Error::Api(status) if status.message.contains(QUOTA) => "QuotaExceeded",
        kube::Error::Api(status) if !status.reason.is_empty() => &status.reason,
        kube::Error::Api(_) => "Refused",
        _ => "ApiServerUnreachable",
    };
    Waiting { reason: reason.to_owned(), message: words(error) }
}

/// What the API server said, or why it could not be asked, with the causes.
pub(super) fn words(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error
        && !status.message.is_empty()
    {
        return status.message.clone();
    }
    with_causes(error)
}

#[cfg(test)]
mod tests {
    use kube::core::response::StatusDetails;
    use serde_json::json;

    use super::*;

    fn api(code: u16, reason: &str, message: &str) -> kube::Error {
        kube::Error::Api(Status::failure(message, reason).with_code(code).boxed())
    }

    #[test]
    fn each_kind_of_answer() {
        let later = Verdict::Later(Duration::ZERO);
        let cases = [
            (409, "AlreadyExists", "jobs.batch \"q-1\" already exists", Verdict::NameTaken),
            (409, "Conflict", "the object has been modified", later),
            (422, "Invalid", "Job.batch \"q-1\" is invalid", Verdict::Never),
            (400, "BadRequest", "strict decoding error", Verdict::Never),
            (403, "Forbidden", "User \"x\" cannot create resource", Verdict::Never),
            (
                403,
                "Forbidden",
                "jobs.batch \"q-1\" is forbidden: exceeded quota: q",
                Verdict::Later(Duration::ZERO),
            ),
            (
                403,
                "Forbidden",
                "unable to create: namespace n is being terminated",
                Verdict::Later(Duration::ZERO),
            ),
            (404, "NotFound", "namespaces \"n\" not found", Verdict::Later(Duration::ZERO)),
            (401, "Unauthorized", "Unauthorized", Verdict::Later(Duration::ZERO)),
            (429, "", "Too many requests", Verdict::Later(Duration::ZERO)),
            (500, "InternalError", "failed calling webhook", Verdict::Later(Duration::ZERO)),
            (504, "Timeout", "request did not complete", Verdict::Later(Duration::ZERO)),
        ];
        for (code, reason, message, expected) in cases {
            assert_eq!(verdict(&api(code, reason, message)), expected, "{code} {reason} {message}");
        }
    }

    #[test]
    fn the_server_says_how_long() {
        let details: StatusDetails = serde_json::from_value(json!({"retryAfterSeconds": 7})).unwrap();
        let status = Status::failure("slow down", "TooManyRequests").with_code(429).with_details(details);
        assert_eq!(verdict(&kube::Error::Api(status.boxed())), Verdict::Later(Duration::from_secs(7)));
    }
}
