//! `bench`: what each step of some runs took.

use e2e::world::World;

use crate::person::{ask, say};
use crate::{Tested, parsed};

#[tokio::test]
async fn bench_tells_how_long_each_step_took() -> Tested {
    let world = World::new("cli_bench").await?;
    world.shell_queue("noop", r#"[ "$PGBATCH_ARG_BAD" != true ]"#, ", max_attempts => 1").await?;
    let _dispatcher = world.dispatcher(&[])?;
    let told = ask(&world, &["bench", "noop", "--items", "20"])?;
    assert!(told.starts_with("20 items of queue \"noop\" in ") && !told.contains("succeed"), "{told}");
    let rows: Vec<Vec<&str>> = told.lines().skip(2).map(|line| line.split_whitespace().collect()).collect();
    let steps: Vec<String> = rows.iter().map(|row| row[..4].join(" ")).collect();
    assert_eq!(steps, ["enqueue to claim 20", "claim to start 20", "start to end 20", "enqueue to end 20"]);

    let json = parsed(&ask(&world, &["bench", "noop", "--items=6", "--rate=100", "-o", "json"])?)?;
    assert_eq!((json["succeeded"].as_i64(), json["steps"][0]["runs"].as_i64()), (Some(6), Some(6)));
    assert!(json["steps"][3]["p50"].as_f64() >= json["steps"][2]["p50"].as_f64(), "{json}");
    let batches = "SELECT count(*) FROM pgbatch.batches WHERE label = 'pgbatch bench'";
    assert_eq!(
        world.client.query_one(batches, &[]).await?.get::<_, i64>(0),
        7,
        "one, and one for each of six"
    );

    let failed = say(&world, &["bench", "noop", "{\"bad\": true}", "--items", "2"])?;
    assert!(failed.status == 1 && failed.out.contains("; 2 did not succeed\n"), "{failed:?}");
    for wrong in [&["bench", "none"][..], &["bench", "noop", "no JSON"], &["bench", "noop", "--items", "0"]] {
        let said = say(&world, wrong)?;
        assert!(said.status == 2 && !said.err.is_empty(), "{wrong:?}: {said:?}");
    }
    assert_eq!(
        world.client.query_one(batches, &[]).await?.get::<_, i64>(0),
        8,
        "what is wrong enqueues nothing"
    );
    Ok(())
}
