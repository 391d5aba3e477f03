//! The dashboard: what people look at in a browser. It reads, by a login of its own at PostgreSQL; what people do there, they do as a
//! role that is mapped to them, and where none is, nobody can do anything.
//!
//! ```text
//!   browser ── GET /batches/12 ──> access ──> page ──> a session of a role that may read ──> views, functions
//!      ^                                                                                     (none is open when nobody looks)
//!      └── "changed" (/live) <── the loop has looked at the world
//! ```
//! A page is whole without any script. With it, a page that is told of a change reads itself again and takes over what differs.

mod access;
mod act;
mod acting_role;
mod action;
mod activity;
mod assets;
mod batch;
mod batches;
mod error;
mod gantt;
mod heat_map;
mod item;
mod layout;
mod link;
mod live;
mod now;
mod plumbing;
mod pods;
mod same_origin;
mod sessions;
mod sparkline;
mod state;
mod triggers;
mod verdict;

use std::net::SocketAddr;

use axum::Router;
use axum::extract::FromRef;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::get;

pub use access::Token;
pub use acting_role::ActingRole;

use self::access::Access;
use self::pods::Pods;
use self::sessions::Sessions;
use super::Health;
use crate::config::DashboardArgs;
use crate::executor::ExecutorConfig;

/// Nothing from elsewhere, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Why it cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum DashboardError {
    /// There is no port.
    #[error(
        "--dashboard-database-url needs --listen (PGBATCH_LISTEN), the address to serve the dashboard at"
    )]
    NoAddress,
    /// Others reach the port.
    #[error(
        "the dashboard would be served at {0} to everybody: give --dashboard-token @FILE or --dashboard-user-header NAME, \
         or listen at 127.0.0.1"
    )]
    Open(SocketAddr),
    /// There are none.
    #[error(
        "--dashboard-pods shows pods, and local processes have none: leave it out, or run with --executor kubernetes"
    )]
    NoPods,
    /// Whoever is on this host could do something.
    #[error(
        "--dashboard-role lets people act, so they have to log in: give --dashboard-token @FILE or --dashboard-user-header NAME"
    )]
    NobodyLogsIn,
    /// It has nothing to show.
    #[error("{0} needs --dashboard-database-url, the login of a role that may read")]
    NoDatabase(&'static str),
}

/// What the pages share.
#[derive(Debug, Clone)]
pub struct Dashboard {
    sessions: Sessions,
    access: Access,
    health: Health,
    pods: Option<Pods>,
}

impl FromRef<Dashboard> for Access {
    fn from_ref(dashboard: &Dashboard) -> Self {
        dashboard.access.clone()
    }
}

impl Dashboard {
    /// Where it is asked for. Nothing is connected yet.
    ///
    /// # Errors
    /// The flags do not go together, or would let everybody in.
    pub fn new(
        args: &DashboardArgs,
        listen: Option<SocketAddr>,
        executor: &ExecutorConfig,
        health: &Health,
    ) -> Result<Option<Self>, DashboardError> {
        let DashboardArgs {
            dashboard_database_url,
            dashboard_token,
            dashboard_user_header,
            dashboard_role,
            dashboard_pods,
        } = args.clone();
        let access =
            Access { token: dashboard_token, user_header: dashboard_user_header, roles: dashboard_role };
        let Some(url) = dashboard_database_url else {
            return match (access.token, access.user_header, access.roles.is_empty()) {
                (None, None, true) => Ok(None),
                (Some(_), _, _) => Err(DashboardError::NoDatabase("--dashboard-token")),
                (None, Some(_), _) => Err(DashboardError::NoDatabase("--dashboard-user-header")),
                (None, None, false) => Err(DashboardError::NoDatabase("--dashboard-role")),
            };
        };
        if access.is_open() && !access.roles.is_empty() {
            return Err(DashboardError::NobodyLogsIn);
        }
        let address = listen.ok_or(DashboardError::NoAddress)?;
        if !access.is_for(address) {
            return Err(DashboardError::Open(address));
        }
        let pods = match (dashboard_pods, executor) {
            (false, _) => None,
            (true, ExecutorConfig::Kubernetes(config)) => Some(Pods::new(config.clone())),
            (true, ExecutorConfig::Process(_)) => return Err(DashboardError::NoPods),
        };
        Ok(Some(Self { sessions: Sessions::new(url), access, health: health.clone(), pods }))
    }

    /// The pages.
    pub(super) fn pages(self) -> Router {
        Router::new()
            .route("/", get(now::now))
            .route("/batches", get(batches::batches))
            .route("/batches/{batch}", get(batch::batch))
            .route("/batches/{batch}/items/{item}", get(item::item))
            .route("/triggers", get(triggers::triggers))
            .route("/activity", get(activity::activity))
            .route("/act", get(act::ask).post(act::act))
            .route("/live", get(live::live))
            .route_layer(from_fn_with_state(self.clone(), access::let_in))
            .route("/login", get(access::login_page).post(access::login))
            .route("/logout", axum::routing::post(access::logout))
            .route("/assets/{name}", get(assets::asset))
            .layer(from_fn(same_origin::refuse_others))
            .layer(map_response(secured))
            .with_state(self)
    }
}

/// What a browser is not to do with any of them.
async fn secured(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // With "no-referrer" a browser would not say of a form where it comes from.
        (REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::process::ProcessConfig;

    fn args(url: bool, token: bool) -> DashboardArgs {
        DashboardArgs {
            dashboard_database_url: url.then(|| "postgres://reader@db/shop".parse().unwrap()),
            dashboard_token: token.then(|| "0123456789abcdef".parse().unwrap()),
            dashboard_user_header: None,
            dashboard_role: vec![],
            dashboard_pods: false,
        }
    }

    fn process() -> ExecutorConfig {
        ExecutorConfig::Process(ProcessConfig { dir: None })
    }

    fn refusal(url: bool, token: bool, listen: Option<&str>) -> Option<String> {
        let listen = listen.map(|address| address.parse().unwrap());
        Dashboard::new(&args(url, token), listen, &process(), &Health::new())
            .err()
            .map(|error| error.to_string())
    }

    #[test]
    fn it_is_served_to_others_than_this_host_with_a_login_only() {
        assert_eq!(refusal(true, false, Some("127.0.0.1:1")), None);
        assert_eq!(refusal(true, true, Some("0.0.0.0:1")), None);
        let open = refusal(true, false, Some("0.0.0.0:1")).unwrap();
        assert!(open.contains("0.0.0.0:1") && open.contains("--dashboard-token"), "{open}");
    }

    #[test]
    fn where_nobody_logs_in_nobody_acts() {
        let listen = Some("127.0.0.1:1".parse().unwrap());
        let acting =
            |url, token| DashboardArgs { dashboard_role: vec!["ops".parse().unwrap()], ..args(url, token) };
        let refusal = |args| {
            Dashboard::new(&args, listen, &process(), &Health::new()).err().map(|error| error.to_string())
        };
        assert!(refusal(acting(true, false)).unwrap().contains("they have to log in"));
        assert_eq!(refusal(acting(true, true)), None);
        assert!(
            refusal(acting(false, false))
                .unwrap()
                .contains("--dashboard-role needs --dashboard-database-url")
        );
    }

    #[test]
    fn flags_that_need_each_other_say_so() {
        assert!(refusal(true, false, None).unwrap().contains("--listen"));
        assert!(refusal(false, true, Some("127.0.0.1:1")).unwrap().contains("--dashboard-database-url"));
        assert_eq!(refusal(false, false, None), None);
    }
}
