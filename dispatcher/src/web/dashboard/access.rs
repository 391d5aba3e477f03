//! Who is let in: with a token, or named by a trusted proxy; or whoever is on this host, where nobody else reaches the port.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fmt, fs};

use axum::extract::{Form, Query, Request, State};
use axum::http::header::{COOKIE, HOST, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use maud::html;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ring::hmac;
use serde::Deserialize;
use tokio::time::sleep;
use tracing::warn;

use super::acting_role::{ActingRole, role_of};
use super::layout::{Visitor, Who, bare_page};

const COOKIE_NAME: &str = "pgbatch_dashboard";
/// A login lasts so long; a changed token ends it.
const SESSION_MAX: Duration = Duration::from_hours(12);
/// A wrong token is answered so late, one after the other: it cannot be guessed.
const WRONG_PAUSE: Duration = Duration::from_millis(300);
/// Shorter ones could be.
const TOKEN_MIN: usize = 16;

/// A token, or `@FILE` with one in it, which is read again for each request; it never shows.
#[derive(Clone)]
pub struct Token(Source);

#[derive(Clone)]
enum Source {
    Text(String),
    File(PathBuf),
}

impl FromStr for Token {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let token = match text.strip_prefix('@') {
            Some(path) => Self(Source::File(path.into())),
            None => Self(Source::Text(text.to_owned())),
        };
        match token.read()?.len() {
            TOKEN_MIN.. => Ok(token),
            _ => Err(format!("a token has {TOKEN_MIN} characters at least, as of: openssl rand -hex 16")),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    fn read(&self) -> Result<String, String> {
        match &self.0 {
            Source::Text(text) => Ok(text.clone()),
            Source::File(path) => fs::read_to_string(path)
                .map(|text| text.trim().to_owned())
                .map_err(|error| format!("the token cannot be read from {}: {error}", path.display())),
        }
    }

    /// What signs; nothing where its file cannot be read or is too short: nobody is let in then.
    fn key(&self) -> Option<hmac::Key> {
        let text =
            self.read().inspect_err(|error| warn!(error, "nobody can log in to the dashboard")).ok()?;
        (text.len() >= TOKEN_MIN).then(|| key_of(&text))
    }

    /// Whether somebody has given it; takes as long for each wrong one.
    fn is(&self, given: &str) -> bool {
        let proof = hmac::sign(&key_of(given.trim()), b"login");
        self.key().is_some_and(|key| hmac::verify(&key, b"login", proof.as_ref()).is_ok())
    }

    /// The value of a cookie. Each dispatcher with this token knows it, so any of two replicas may answer.
    fn pass(&self, until: u64) -> Option<String> {
        let signature = hmac::sign(&self.key()?, message(until).as_bytes());
        let hex: String = signature.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Some(format!("{until}.{hex}"))
    }

    fn lets_pass(&self, cookie: &str, now: u64) -> bool {
        let Some((until, hex)) = cookie.split_once('.') else { return false };
        let Ok(until) = until.parse::<u64>() else { return false };
        let pairs =
            hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
        let Some(signature) = pairs.collect::<Option<Vec<u8>>>() else { return false };
        let is_signed = |key| hmac::verify(&key, message(until).as_bytes(), &signature).is_ok();
        now < until && self.key().is_some_and(is_signed)
    }
}

fn key_of(token: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes())
}

fn message(until: u64) -> String {
    format!("pgbatch dashboard until {until}")
}

/// Who is let in.
#[derive(Debug, Clone)]
pub(super) struct Access {
    pub(super) token: Option<Token>,
    pub(super) user_header: Option<HeaderName>,
    /// As which role they act.
    pub(super) roles: Vec<ActingRole>,
}

impl Access {
    /// Whether the port may be one that others reach.
    pub(super) fn is_for(&self, address: SocketAddr) -> bool {
        address.ip().is_loopback() || !self.is_open()
    }

    /// Nobody has to say who he is.
    pub(super) fn is_open(&self) -> bool {
        self.token.is_none() && self.user_header.is_none()
    }

    /// Who this is; none: somebody who is not let in.
    fn visitor(&self, headers: &HeaderMap, now: u64) -> Option<Visitor> {
        let who = self.who(headers, now)?;
        let mut visitor = Visitor { who, role: None };
        visitor.role = role_of(&self.roles, visitor.name());
        Some(visitor)
    }

    fn who(&self, headers: &HeaderMap, now: u64) -> Option<Who> {
        let named = self.user_header.as_ref().and_then(|name| headers.get(name)?.to_str().ok());
        if let Some(name) = named.filter(|name| !name.trim().is_empty()) {
            return Some(Who::Named(name.trim().to_owned()));
        }
        let has_pass = |token: &Token| cookie(headers).any(|pass| token.lets_pass(pass, now));
        if self.token.as_ref().is_some_and(has_pass) {
            return Some(Who::LoggedIn);
        }
        // A page of a stranger, in a browser of this host, may have its own name point here.
        (self.is_open() && is_of_this_host(headers)).then_some(Who::Anybody)
    }
}

fn cookie(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let cookies = headers.get_all(COOKIE).into_iter().filter_map(|cookie| cookie.to_str().ok());
    cookies.flat_map(|cookies| cookies.split(';')).filter_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == COOKIE_NAME).then_some(value)
    })
}

fn is_of_this_host(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name =
        host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name);
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs())
}

/// Lets a request through to its page, with its [`Visitor`], or sends it to the login.
pub(super) async fn let_in(State(access): State<Access>, mut request: Request, next: Next) -> Response {
    match access.visitor(request.headers(), now()) {
        Some(visitor) => {
            request.extensions_mut().insert(visitor);
            next.run(request).await
        }
        None if access.token.is_some() && request.uri().path() == "/live" => {
            StatusCode::UNAUTHORIZED.into_response()
        }
        None if access.token.is_some() => {
            let wanted = request.uri().path_and_query().map_or("/", |wanted| wanted.as_str());
            let wanted = utf8_percent_encode(wanted, NON_ALPHANUMERIC);
            Redirect::to(&format!("/login?next={wanted}")).into_response()
        }
        None => {
            let words = match &access.user_header {
                Some(name) => format!("The proxy before it has to say who you are, by the header {name}."),
                None => "It is served to this host only, by its own name or address.".to_owned(),
            };
            let main = html! { h1 { "Not for you" } p.problem { (words) } };
            (StatusCode::FORBIDDEN, bare_page("Not for you", &main)).into_response()
        }
    }
}

/// Where to go after the login.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    next: Option<String>,
}

/// The form.
pub(super) async fn login_page(Query(wanted): Query<Wanted>) -> Response {
    login_form(wanted.next.as_deref(), None).into_response()
}

fn login_form(next: Option<&str>, problem: Option<&str>) -> impl IntoResponse + use<> {
    bare_page(
        "Log in",
        &html! {
            h1 { "pgbatch" }
            form.login method="post" action="/login" {
                @if let Some(problem) = problem { p.problem role="alert" { (problem) } }
                // For whoever keeps passwords: without a name they keep none.
                input type="text" name="username" value="pgbatch" autocomplete="username" hidden;
                label for="token" { "Token" }
                input #token type="password" name="token" autocomplete="current-password" required autofocus;
                input type="hidden" name="next" value=(next.unwrap_or("/"));
                button type="submit" { "Log in" }
            }
        },
    )
}

/// What the form sends.
#[derive(Deserialize)]
pub(super) struct Login {
    token: String,
    next: Option<String>,
}

/// Gives a cookie to who has the token.
pub(super) async fn login(
    State(access): State<Access>,
    headers: HeaderMap,
    Form(given): Form<Login>,
) -> Response {
    static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let until = now().saturating_add(SESSION_MAX.as_secs());
    let next = given.next.as_deref();
    match access.token.as_ref().filter(|token| token.is(&given.token)).and_then(|token| token.pass(until)) {
        Some(pass) => {
            let age = SESSION_MAX.as_secs();
            ([(SET_COOKIE, set_cookie(&pass, age, &headers))], Redirect::to(own_path(next))).into_response()
        }
        None => {
            let _turn = ONE_AT_A_TIME.lock().await;
            sleep(WRONG_PAUSE).await;
            (StatusCode::UNAUTHORIZED, login_form(next, Some("That is not the token."))).into_response()
        }
    }
}

/// Takes the cookie back.
pub(super) async fn logout(headers: HeaderMap) -> Response {
    ([(SET_COOKIE, set_cookie("", 0, &headers))], Redirect::to("/login")).into_response()
}

fn set_cookie(value: &str, age: u64, headers: &HeaderMap) -> String {
    let is_https = headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    let secure = if is_https { "; Secure" } else { "" };
    format!("{COOKIE_NAME}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}")
}

/// A path of ours; nobody is sent elsewhere by a link to the login.
fn own_path(next: Option<&str>) -> &str {
    let is_own = |path: &&str| {
        path.starts_with('/')
            && !path[1..].starts_with(['/', '\\'])
            && !path.contains(|c: char| c.is_control())
    };
    next.filter(is_own).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn token() -> Token {
        TOKEN.parse().unwrap()
    }

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn a_pass_holds_until_its_end_and_only_with_its_token() {
        let pass = token().pass(1000).unwrap();
        assert!(token().lets_pass(&pass, 999));
        assert!(!token().lets_pass(&pass, 1000), "it is over");
        assert!(!"another-token-of-enough".parse::<Token>().unwrap().lets_pass(&pass, 999));
        let longer = pass.replacen("1000", "2000", 1);
        for forged in [longer.as_str(), "", ".", "1000", "1000.", "1000.zz", "x.00"] {
            assert!(!token().lets_pass(forged, 999), "{forged}");
        }
    }

    #[test]
    fn a_token_of_a_file_is_read_again_and_never_shows() {
        let file = std::env::temp_dir().join(format!("pgbatch-token-{}", std::process::id()));
        fs::write(&file, format!("{TOKEN}\n")).unwrap();
        let token: Token = format!("@{}", file.display()).parse().unwrap();
        assert!(token.is(TOKEN) && !token.is("0123456789abcdeg"));
        fs::write(&file, "fedcba9876543210").unwrap();
        assert!(token.is("fedcba9876543210") && !token.is(TOKEN));
        fs::remove_file(&file).unwrap();
        assert!(!token.is("fedcba9876543210"), "nobody, where it cannot be read");
        assert_eq!(format!("{token:?}"), "Token");
        assert!("short".parse::<Token>().is_err());
    }

    #[test]
    fn without_a_login_it_is_for_this_host_alone_and_by_its_own_name() {
        let open = Access { token: None, user_header: None, roles: vec![] };
        assert!(open.is_for("127.0.0.1:80".parse().unwrap()) && !open.is_for("0.0.0.0:80".parse().unwrap()));
        for (host, is_let_in) in [
            ("localhost:8080", true),
            ("127.0.0.1", true),
            ("[::1]:8080", true),
            ("evil.example:8080", false),
            ("127.0.0.1.evil.example", false),
        ] {
            assert_eq!(open.visitor(&headers(HOST, host), 0).is_some(), is_let_in, "{host}");
        }
    }

    #[test]
    fn a_proxy_names_who_looks_and_without_a_name_nobody_does() {
        let name = HeaderName::from_static("x-user");
        let access =
            Access { token: None, user_header: Some(name.clone()), roles: vec!["ann=ops".parse().unwrap()] };
        assert!(access.is_for("0.0.0.0:80".parse().unwrap()));
        let named = access.visitor(&headers(name.clone(), " ann "), 0);
        assert!(named.is_some_and(|ann| ann.name() == Some("ann") && ann.role.as_deref() == Some("ops")));
        let bob = access.visitor(&headers(name.clone(), "bob"), 0).unwrap();
        assert_eq!(bob.role, None, "he only looks");
        assert!(access.visitor(&headers(name, " "), 0).is_none());
        assert!(access.visitor(&headers(HOST, "localhost"), 0).is_none());
    }

    #[test]
    fn the_login_leads_to_pages_of_ours_only() {
        for (next, path) in [
            ("/batches?state=failed", "/batches?state=failed"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("https://evil.example", "/"),
            ("", "/"),
        ] {
            assert_eq!(own_path(Some(next)), path);
        }
    }
}
