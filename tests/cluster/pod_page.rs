//! The page of an item, of which the API server knows more: its pod's way, and the end of its log.

use e2e::http::get;
use e2e::network::free_port;
use e2e::postgres::OWNER;
use e2e::wait::until_else;
use serde_json::json;

use crate::on_cluster::OnCluster;
use crate::{RUNNING_RUNS, SOON, Tested};

/// Waits until the page has all of it.
async fn until_told(port: u16, path: &str, wanted: &[&str]) -> String {
    until_else(&format!("{wanted:?}"), SOON, async || {
        let page = get(port, path, &[]).map_err(|error| error.to_string())?.body;
        if wanted.iter().all(|words| page.contains(words)) { Ok(page) } else { Err(page) }
    })
    .await
}

#[tokio::test]
async fn the_page_of_an_item_has_its_pods_way_and_log_while_there_is_a_pod() -> Tested {
    let on = OnCluster::new("pod-page").await?;
    let line = "echo one '<two>'; until [ -e /record/gate ]; do sleep 0.1; done; exit 3";
    on.shell_queue("speaks", line, ", max_attempts => 1").await?;
    on.role_without("", "")?;
    let account = on.account()?;
    let port = free_port(None, [127, 0, 0, 1].into())?;
    let flags = [
        format!("--listen=127.0.0.1:{port}"),
        format!("--dashboard-database-url={}", on.world.database.url(OWNER)),
        "--dashboard-pods".to_owned(),
    ];
    let _dispatcher = on.dispatcher_with(&flags, None, &account)?;
    let batch = on.enqueue("speaks", json!({})).await?;
    on.until_count("the run to be running", RUNNING_RUNS, batch, 1, SOON).await;
    until_told(port, "/", &["every namespace is synced", "no request was turned away (429)"]).await;
    let path = format!("/batches/{batch}/items/1");
    let started = "container main started";
    let refused = ["Of its pod not all is known: no Events: ", "; no log: ", "cannot get resource", started];
    until_told(port, &path, &refused).await;

    on.role_with(&[("", "events", "list"), ("", "pods/log", "get")])?;
    let log = "<pre class=\"log\" tabindex=\"0\" role=\"region\" aria-label=\"Log\">one &lt;two&gt;\n</pre>";
    let page = until_told(port, &path, &[log, "scheduled to ", started, "Pulled: Container image "]).await;
    assert!(!page.contains("not all is known"), "{page}");
    std::fs::write(on.record("gate"), "")?;
    until_told(port, &path, &["container main ended with 3", "attempt 1 ended: failed", log]).await;

    on.cluster.kubectl(&["delete", "jobs", "--all", "--namespace", &on.namespace.name])?;
    until_else("no pod to be told of", SOON, async || {
        let page = get(port, &path, &[]).map_err(|error| error.to_string())?.body;
        let is_gone =
            !page.contains(log) && !page.contains("not all is known") && page.contains("attempt 1 ended");
        if is_gone { Ok(()) } else { Err(page) }
    })
    .await;
    Ok(())
}
