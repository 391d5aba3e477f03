//! Why there is no page.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::html;

use super::layout::{Visitor, page};
use crate::people::failure::Failure;

/// Why there is no page.
#[derive(Debug)]
pub(super) enum PageError {
    /// There is no such thing, or it may not be read.
    NotFound(String),
    /// PostgreSQL cannot be asked.
    Unreachable(Failure),
    /// PostgreSQL said no.
    Refused(Failure),
    /// Too many look at once.
    Busy,
    /// The link is wrong.
    BadRequest(String),
    /// Who asks may do nothing.
    OnlyLooks,
}

impl From<Failure> for PageError {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let (status, title, words) = match self {
            Self::NotFound(words) => (StatusCode::NOT_FOUND, "Not found", words),
            Self::Unreachable(failure) => {
                (StatusCode::SERVICE_UNAVAILABLE, "PostgreSQL cannot be asked", failure.words())
            }
            Self::Refused(failure) => {
                (StatusCode::SERVICE_UNAVAILABLE, "PostgreSQL said no", failure.to_string())
            }
            Self::BadRequest(words) => (StatusCode::BAD_REQUEST, "That is no link of ours", words),
            Self::OnlyLooks => (
                StatusCode::FORBIDDEN,
                "You may only look",
                "No role of PostgreSQL is mapped to you: --dashboard-role does that.".to_owned(),
            ),
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many look",
                "every session with PostgreSQL is busy; try again".to_owned(),
            ),
        };
        let main = html! {
            h1 { (title) }
            p.problem { (words) }
            p { a href="/" { "Now" } }
        };
        (status, page("", title, &Visitor::anybody(), &main)).into_response()
    }
}
