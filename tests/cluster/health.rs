//! `/healthz` and `/readyz` of the real binary, while what it needs comes and goes.

use std::io;

use e2e::dispatcher::Dispatcher;
use e2e::network::Netns;
use e2e::postgres::{Options, Server, Stop};
use e2e::wait::until;
use serde_json::Value;

use crate::on_cluster::OnCluster;
use crate::{SOON, Tested};

const LISTEN: &str = "--listen=127.0.0.1:8080";
/// One request, as a kubelet would make it: no answer within a few seconds is none.
const PROBE: &str = r#"exec 3<>/dev/tcp/127.0.0.1/8080 && printf "GET $0 HTTP/1.0\r\n\r\n" >&3 && cat <&3"#;

/// The status and the body that a dispatcher on this host answers.
fn probe(host: &Netns, page: &str) -> io::Result<(u16, Value)> {
    let output = host.command("timeout").args(["5", "bash", "-c", PROBE, page]).output()?;
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    let no_answer = || io::Error::other(format!("no answer: {answer:?}"));
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(no_answer)?;
    let (_head, body) = answer.split_once("\r\n\r\n").ok_or_else(no_answer)?;
    Ok((status, serde_json::from_str(body)?))
}

/// Waits until `/readyz` answers so, with these words; `/healthz` says all the while that the loop turns.
async fn until_ready(host: &Netns, status: u16, words: &str) {
    until(&format!("/readyz to answer {status}: {words}"), SOON, async || {
        // Before it listens there is no answer.
        let (code, alive) = probe(host, "/healthz").ok()?;
        assert_eq!((code, alive["because"].as_str()), (200, Some("the loop turns")), "{alive}");
        let (code, ready) = probe(host, "/readyz").ok()?;
        assert_eq!(ready["ready"] == true, code == 200, "{ready}");
        (code == status && ready["because"].as_str()?.contains(words)).then_some(())
    })
    .await;
}

fn start(on: &OnCluster, host: &Netns) -> io::Result<Dispatcher> {
    on.dispatcher_with(&[LISTEN.to_owned()], Some(host), on.cluster.kubeconfig())
}

#[tokio::test]
async fn ready_only_while_it_hears_commits_and_sees_jobs_and_alive_all_the_while() -> Tested {
    let mut server = Server::start(&Options::default())?;
    let on = OnCluster::on_server("health", &server).await?;
    let (hub, host) = (Netns::existing(on.cluster.netns()), Netns::new()?);
    let link = on.link(&hub, &host)?;
    let watch = format!("the watch of namespace {} is", on.namespace.name);
    link.cut()?;
    let dispatcher = start(&on, &host)?;
    until_ready(&host, 503, &format!("{watch} not synced: failed")).await;
    link.mend()?;
    until_ready(&host, 200, "listening to commits, and every watch is synced").await;

    link.cut()?;
    until_ready(&host, 503, &format!("{watch} interrupted")).await;
    link.mend()?;
    until_ready(&host, 200, "listening to commits").await;

    server.stop(Stop::Immediate)?;
    until_ready(&host, 503, "no session with PostgreSQL").await;
    server.restart()?;
    until_ready(&host, 200, "listening to commits").await;

    dispatcher.freeze()?;
    assert!(probe(&host, "/healthz").is_err(), "a process that stands still is not alive");
    dispatcher.thaw()?;
    until_ready(&host, 200, "listening to commits").await;
    Ok(())
}

#[tokio::test]
async fn a_standby_is_ready_until_it_leads_and_then_by_itself() -> Tested {
    let on = OnCluster::new("standby").await?;
    let (hub, one, two) = (Netns::existing(on.cluster.netns()), Netns::new()?, Netns::new()?);
    let (_link, other_link) = (on.link(&hub, &one)?, on.link(&hub, &two)?);
    let mut leader = start(&on, &one)?;
    until_ready(&one, 200, "listening to commits").await;
    let _standby = start(&on, &two)?;
    until_ready(&two, 200, "another dispatcher leads").await;
    other_link.cut()?;
    leader.kill()?;
    until_ready(&two, 503, "is not synced").await;
    other_link.mend()?;
    until_ready(&two, 200, "listening to commits").await;
    Ok(())
}
