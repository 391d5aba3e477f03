//! What the pages load, in this binary: nothing comes from elsewhere. `assets/README.md` says where each file is from.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

const SCRIPT: &str = "text/javascript; charset=utf-8";

const ASSETS: [(&str, &str, &str); 5] = [
    ("dashboard.css", "text/css; charset=utf-8", include_str!("assets/dashboard.css")),
    ("dashboard.js", SCRIPT, include_str!("assets/dashboard.js")),
    ("theme.js", SCRIPT, include_str!("assets/theme.js")),
    ("idiomorph.js", SCRIPT, include_str!("assets/idiomorph.min.js")),
    ("icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
];

/// A file. It may be another one after an upgrade, so it is kept for minutes only.
pub(super) async fn asset(Path(wanted): Path<String>) -> Response {
    match ASSETS.into_iter().find(|(name, _, _)| *name == wanted) {
        Some((_, kind, text)) => {
            ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "max-age=300")], text).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
