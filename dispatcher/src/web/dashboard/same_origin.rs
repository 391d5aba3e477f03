//! What changes something comes from a page of ours: no other page in the same browser can do it for somebody who is let in.
//!
//! Browsers say where a request comes from (`Sec-Fetch-Site`, and over plain HTTP `Origin`), and no page can change what they say.

use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use maud::html;

use super::layout::bare_page;

/// Lets a request through that reads, or comes from a page of ours.
pub(super) async fn refuse_others(request: Request, next: Next) -> Response {
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    if reads || is_ours(request.headers()) {
        return next.run(request).await;
    }
    let main = html! {
        h1 { "Not from here" }
        p.problem { "Another page sent this, or a proxy changed its headers: Origin, Host and Sec-Fetch-Site have to come through as they are." }
    };
    (StatusCode::FORBIDDEN, bare_page("Not from here", &main)).into_response()
}

fn is_ours(headers: &HeaderMap) -> bool {
    let value = |value: &HeaderValue| value.to_str().map(str::to_owned).ok();
    match headers.get("sec-fetch-site").map(value) {
        // "none": by the person, not by a page.
        Some(site) => site.is_some_and(|site| site == "same-origin" || site == "none"),
        None => {
            let origin = headers.get(ORIGIN).and_then(value);
            let host = headers.get(HOST).and_then(value);
            origin.zip(host).is_some_and(|(origin, host)| {
                origin.split_once("://").is_some_and(|(_, origin)| origin.eq_ignore_ascii_case(&host))
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_browser_says_to_be_from_here_is() {
        for (headers, ours) in [
            (vec![("sec-fetch-site", "same-origin")], true),
            (vec![("sec-fetch-site", "none")], true),
            (vec![("sec-fetch-site", "same-site"), ("origin", "https://a"), ("host", "a")], false),
            (vec![("sec-fetch-site", "cross-site")], false),
            (vec![("origin", "http://db.lan:8080"), ("host", "DB.lan:8080")], true),
            (vec![("origin", "http://db.lan"), ("host", "db.lan:8080")], false),
            (vec![("origin", "http://evil.example"), ("host", "db.lan")], false),
            (vec![("origin", "null"), ("host", "db.lan")], false),
            (vec![("host", "db.lan")], false),
            (vec![], false),
        ] {
            let map = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            assert_eq!(is_ours(&map.collect()), ours, "{headers:?}");
        }
    }
}
