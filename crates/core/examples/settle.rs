//! What a step of a build costs: `cargo run --release -p tidegate-core --example settle`.
//!
//! Prints, for plans of 4,000 jobs of several shapes, the time to make the graph, to settle for the first time, to fold
//! one result and settle, and to settle when nothing changed.

#![expect(clippy::print_stdout, reason = "that is what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tidegate_core::attempt::Cause;
use tidegate_core::build::{Build, Ended, Facts, Graph, Input, JobState, Limits, SegmentRef};
use tidegate_core::ids::JobIndex;
use tidegate_core::plan::Segment;
use tidegate_core::time::Timestamp;

const JOBS: usize = 4_000;

fn facts() -> anyhow::Result<Facts> {
    let facts = serde_json::json!({
        "id": "0197a7c0-0000-7000-8000-000000000001", "number": 1, "pipeline": "p", "repository": 1,
        "repository_name": "o/r", "git_ref": null, "commit": "a".repeat(40), "message": "", "author": ["", ""],
        "creator": "", "source": "api", "trust": "trusted", "created_at": 0,
    });
    Ok(serde_json::from_value(facts)?)
}

fn command(n: usize, more: serde_json::Value) -> serde_json::Value {
    let mut step = serde_json::json!({
        "key": format!("s{n}"), "label": format!("s{n}"), "type": "command", "command": "true",
        "agents": [["queue", "default"]], "jobs": [{}],
    });
    if let (Some(step), serde_json::Value::Object(more)) = (step.as_object_mut(), more) {
        step.extend(more);
    }
    step
}

fn after(keys: &[usize]) -> serde_json::Value {
    let list: Vec<_> = keys.iter().map(|k| serde_json::json!({ "key": format!("s{k}") })).collect();
    serde_json::json!({ "depends_on": { "explicit": list } })
}

fn segment(steps: Vec<serde_json::Value>) -> anyhow::Result<Segment> {
    Ok(serde_json::from_value(serde_json::json!({ "steps": steps }))?)
}

fn measure(name: &str, segments: Vec<Segment>, by: impl Fn(usize) -> JobIndex) -> anyhow::Result<()> {
    let segments: Vec<Arc<Segment>> = segments.into_iter().map(Arc::new).collect();
    let now = Timestamp(1);
    let first = segments.first().context("no segment")?;
    let mut build = Build::new(facts()?, "0".into(), first);
    let graph = Graph::new(&build.segments, vec![first.clone()]);
    for (n, segment) in segments.iter().enumerate().skip(1) {
        let input = Input::Uploaded { by: by(n), number: 0, blob: n.to_string(), replace: false };
        build.fold(&input, &graph, Some(segment), &Limits::default(), now);
    }
    let references: Vec<SegmentRef> = build.segments.clone();
    let begin = Instant::now();
    let graph = Graph::new(&references, segments.clone());
    let making = begin.elapsed();
    ensure!(graph.circle().is_none());
    let begin = Instant::now();
    build.settle(&graph, now);
    let first = begin.elapsed();

    let mut folds = 0u32;
    let (mut folding, mut slowest) = (Duration::ZERO, Duration::ZERO);
    while let Some(place) = build.cells.iter().position(|c| c.state == JobState::Scheduled) {
        let (job, number) = (JobIndex(u32::try_from(place)?), build.cells[place].attempt);
        let ended = Ended {
            job,
            number,
            cause: Cause::Exit,
            exit_status: Some(0),
            signal: None,
            permanent: false,
            started: true,
            uploads: build.cells[place].uploads,
        };
        let begin = Instant::now();
        build.fold(&Input::Ended(ended), &graph, None, &Limits::default(), now);
        build.settle(&graph, now);
        folding += begin.elapsed();
        slowest = slowest.max(begin.elapsed());
        folds += 1;
    }
    let begin = Instant::now();
    build.settle(&graph, now);
    let idle = begin.elapsed();
    let begin = Instant::now();
    let bytes = serde_json::to_vec(&build)?.len();
    let storing = begin.elapsed();
    println!(
        "{name:36} graph {making:>9.1?}  first {first:>9.1?}  fold {:>9.1?} (slowest {slowest:>9.1?})  idle {idle:>9.1?}  \
         store {storing:>9.1?}, {bytes} bytes, {} of {} jobs passed",
        folding / folds.max(1),
        build.cells.iter().filter(|c| c.state == JobState::Passed).count(),
        build.cells.len(),
    );
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let none = || serde_json::json!({});
    let wait = serde_json::json!({ "label": "wait", "type": "wait" });
    let nobody = |_| JobIndex(0);
    measure("side by side", vec![segment((0..JOBS).map(|n| command(n, none())).collect())?], nobody)?;
    let waits = (0..JOBS).map(|n| if n % 10 == 9 { wait.clone() } else { command(n, none()) });
    measure("a wait every ten", vec![segment(waits.collect())?], nobody)?;
    let forward = (0..JOBS).map(|n| command(n, if n == 0 { none() } else { after(&[n - 1]) }));
    measure("a chain", vec![segment(forward.collect())?], nobody)?;
    let backward = (0..JOBS).map(|n| command(n, if n + 1 == JOBS { none() } else { after(&[n + 1]) }));
    measure("a chain, last first", vec![segment(backward.collect())?], nobody)?;
    let web = (0..JOBS).map(|n| {
        let keys: Vec<usize> = (n.saturating_sub(20)..n).collect();
        command(n, if n == 0 { none() } else { after(&keys) })
    });
    measure("twenty dependencies each", vec![segment(web.collect())?], nobody)?;
    let group = (0..JOBS).map(|n| {
        let mut more = if n == 0 { none() } else { after(&[n - 1]) };
        more["concurrency"] = serde_json::json!({ "group": "g", "limit": 4_000 });
        command(n, more)
    });
    measure("one concurrency group, graph only", vec![segment(group.collect())?], nobody)?;
    // 400 uploads of ten steps, each by a step of the upload before, and one that depends on the first uploader.
    let mut deep = Vec::new();
    for n in 0..JOBS / 10 {
        let mut steps: Vec<_> = (0..10).map(|i| command(n * 10 + i, none())).collect();
        if n == 0 {
            steps.push(command(JOBS, after(&[0])));
        }
        deep.push(segment(steps)?);
    }
    let by = |n: usize| JobIndex(u32::try_from((n - 1) * 10 + usize::from(n > 1)).unwrap_or(0));
    measure("uploads of uploads", deep, by)
}
