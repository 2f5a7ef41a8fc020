//! The worked examples that `spec/pipeline.md` transcribes from the public documentation, from the text of a pipeline to
//! what becomes of its builds.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use tidegate_core::attempt::Cause;
use tidegate_core::build::{Build, Effect, Ended, Facts, Graph, Input, JobState, Limits};
use tidegate_core::group::{self, Group, Member};
use tidegate_core::ids::{BuildId, JobIndex, derived_uuid};
use tidegate_core::plan::Segment;
use tidegate_core::time::Timestamp;
use tidegate_pipeline::{Context, Source, expand};

/// A build of a pipeline text, with a clock.
struct Run {
    build: Build,
    graph: Graph,
    now: Timestamp,
}

impl Run {
    fn new(name: &str, created_at: u64, text: &str) -> Self {
        let expansion = expand(Source { name: "pipeline.yml", text: text.as_bytes() }, &Context::default());
        let segment: Segment = expansion.segment.unwrap_or_else(|| panic!("{:?}", expansion.diagnostics));
        let id = BuildId::new(derived_uuid("example", name).to_string()).unwrap();
        let facts: Facts = serde_json::from_value(serde_json::json!({
            "id": id, "number": 1, "pipeline": "web", "repository": 1, "repository_name": "octo/web",
            "git_ref": { "branch": "main" }, "commit": "a".repeat(40), "message": "", "author": ["", ""], "creator": "",
            "source": "webhook", "trust": "trusted", "created_at": created_at,
        }))
        .unwrap();
        let build = Build::new(facts, "plans/0".into(), &segment);
        let graph = Graph::new(&build.segments, vec![Arc::new(segment)]);
        let mut run = Self { build, graph, now: Timestamp(10_000) };
        run.settle();
        run
    }

    fn settle(&mut self) {
        self.build.settle(&self.graph, self.now);
    }

    fn tell(&mut self, input: &Input) {
        self.build.fold(input, &self.graph, None, &Limits::default(), self.now);
        self.settle();
    }

    /// The jobs whose key or label this is; `name.1` is the second.
    fn job(&self, name: &str) -> JobIndex {
        let (name, place) = match name.rsplit_once('.') {
            Some((name, place)) if place.parse::<usize>().is_ok() => (name, place.parse().unwrap()),
            _ => (name, 0),
        };
        let is = |job: &JobIndex| {
            let written = self.graph.job(*job).unwrap();
            written.step.key.as_deref() == Some(name) || written.label() == name
        };
        self.graph.jobs_in_order().filter(is).nth(place).unwrap_or_else(|| panic!("no job `{name}`"))
    }

    fn state(&self, name: &str) -> JobState {
        self.build.cells[self.job(name).0 as usize].state
    }

    fn end(&mut self, name: &str, cause: Cause, exit_status: Option<i32>) {
        let job = self.job(name);
        let number = self.build.cells[job.0 as usize].attempt;
        assert!(self.state(name).has_live_attempt(), "`{name}` is {}: {}", self.state(name).name(), self.shows());
        let (signal, permanent, started, uploads) = (None, false, true, 0);
        self.tell(&Input::Ended(Ended { job, number, cause, exit_status, signal, permanent, started, uploads }));
    }

    fn exit(&mut self, name: &str, status: i32) {
        self.end(name, Cause::Exit, Some(status));
    }

    fn shows(&self) -> String {
        let mut text = self.build.state.name().to_owned();
        for job in self.graph.jobs_in_order() {
            let written = self.graph.job(job).unwrap();
            let name = written.step.key.as_deref().unwrap_or_else(|| written.label());
            text.push_str(&format!(" {name}={}", self.build.cells[job.0 as usize].state.name()));
        }
        text
    }
}

/// 1.11: "two steps with same group `concurrency: 1` around others make whole sections exclusive across builds".
#[test]
fn spec_1_11_gates_make_a_section_exclusive_across_builds() {
    let text = "
steps:
  - { command: build, key: build }
  - wait
  - { command: 'echo start', key: start, concurrency_group: gate, concurrency: 1 }
  - wait
  - { command: deploy, key: deploy, parallelism: 2 }
  - wait
  - { command: 'echo end', key: end, concurrency_group: gate, concurrency: 1 }
";
    let mut runs = [Run::new("one", 1_000, text), Run::new("two", 2_000, text)];
    let mut group = Group::default();
    let mut order = Vec::new();
    for _ in 0..40 {
        for (n, run) in runs.iter_mut().enumerate() {
            let effects = run.build.effects(&run.graph);
            for effect in &effects {
                let build = run.build.facts.id.clone();
                match effect {
                    Effect::Join { job, round, early, concurrency } => group.fold(group::Input::Join(Member {
                        order: (run.build.facts.created_at, build.clone(), *job),
                        build,
                        job: *job,
                        round: *round,
                        limit: concurrency.limit,
                        eager: concurrency.eager,
                        told: false,
                        early: *early,
                        since: None,
                    })),
                    Effect::Leave { job, round, .. } => {
                        group.fold(group::Input::Leave { build, job: *job, round: *round });
                    }
                    _ => {}
                }
            }
            run.build.clear(&effects);
            let live = ["build", "start", "deploy.0", "deploy.1", "end"];
            if let Some(name) = live.into_iter().find(|name| run.state(name) == JobState::Scheduled) {
                run.exit(name, 0);
                order.push(format!("{name}{n}"));
            }
        }
        group.grant();
        let told: Vec<Member> = group.untold().cloned().collect();
        for member in told {
            let run = runs.iter_mut().find(|run| run.build.facts.id == member.build).unwrap();
            run.tell(&Input::Granted { job: member.job, round: member.round });
            group.fold(group::Input::Told { build: member.build, job: member.job, round: member.round });
        }
    }
    assert!(runs.iter().all(|run| run.shows().starts_with("passed")), "{} {}", runs[0].shows(), runs[1].shows());
    insta::assert_snapshot!(order.join(" "), @"build0 build1 start0 deploy.00 deploy.10 end0 start1 deploy.01 deploy.11 end1");
}

/// 1.5: "the gate opens also when something failed … a later plain wait still stops the build".
#[test]
fn spec_1_5_continue_on_failure() {
    let mut run = Run::new(
        "x",
        1,
        "
steps:
  - { command: test, key: test }
  - { wait: ~, continue_on_failure: true }
  - { command: report, key: report }
  - wait
  - { command: deploy, key: deploy }
",
    );
    run.exit("test", 1);
    run.exit("report", 0);
    insta::assert_snapshot!(run.shows(), @"failed test=failed wait=passed report=passed wait=waiting_failed deploy=waiting_failed");
}

/// 1.5: "A wait directly before or after a block is ignored … so a block after a failure never opens unless the failure was
/// soft".
#[test]
fn spec_1_5_a_block_after_a_failure() {
    let text = |soft: bool| {
        format!(
            "
steps:
  - {{ command: test, key: test, soft_fail: {soft} }}
  - {{ wait: ~, continue_on_failure: true }}
  - {{ block: Deploy?, key: ok }}
  - {{ command: deploy, key: deploy }}
"
        )
    };
    let mut run = Run::new("hard", 1, &text(false));
    run.exit("test", 1);
    insta::assert_snapshot!(run.shows(), @"failed test=failed wait=skipped ok=waiting_failed deploy=waiting_failed");
    let mut run = Run::new("soft", 1, &text(true));
    run.exit("test", 1);
    insta::assert_snapshot!(run.shows(), @"blocked test=soft_failed wait=skipped ok=blocked deploy=waiting");
}

/// 1.7: a target that failed, an edge that allows it, and a dependent that allows all of them.
#[test]
fn spec_1_7_allowing_failures() {
    let mut run = Run::new(
        "x",
        1,
        "
steps:
  - { command: a, key: a }
  - { command: b, key: b }
  - { command: c, key: strict, depends_on: [a, b] }
  - { command: d, key: edge, depends_on: [{ step: a, allow_failure: true }, b] }
  - { command: e, key: all, depends_on: [a, b, strict], allow_dependency_failure: true }
",
    );
    run.exit("a", 1);
    run.exit("b", 0);
    run.exit("edge", 0);
    run.exit("all", 0);
    insta::assert_snapshot!(run.shows(), @"failed a=failed b=passed strict=waiting_failed edge=passed all=passed");
}

/// 1.12: a rule for lost agents before one for everything else; and a rule with `limit: 0` placed before `*`, which
/// "prevents the job from being automatically retried".
#[test]
fn spec_1_12_the_first_rule_that_matches_decides() {
    let mut run = Run::new(
        "x",
        1,
        "
steps:
  - key: a
    command: test
    retry:
      automatic:
        - { exit_status: 42, limit: 0 }
        - { exit_status: '*', limit: 2 }
  - { key: b, command: test, retry: { automatic: true } }
  - { key: c, command: test, retry: { automatic: { exit_status: 7, limit: 1 } } }
",
    );
    run.exit("a", 1);
    run.exit("a", 42);
    for _ in 0..3 {
        run.exit("b", 1);
    }
    run.exit("c", 7);
    run.exit("c", 7);
    insta::assert_snapshot!(run.shows(), @"failed a=failed b=failed c=failed");
    let tries: Vec<u32> = run.build.cells.iter().map(|cell| cell.attempt).collect();
    assert_eq!(tries, [2, 3, 2]);
}

/// 1.12: "0 = passed; otherwise failed … `soft_fail` list: match by number or `*`".
#[test]
fn spec_1_12_soft_failures() {
    let mut run = Run::new(
        "x",
        1,
        "
steps:
  - { command: a, key: listed, soft_fail: [{ exit_status: 1 }] }
  - { command: b, key: other, soft_fail: [{ exit_status: 1 }] }
  - { command: c, key: any, soft_fail: [{ exit_status: '*' }] }
  - { command: d, key: after, depends_on: [listed, any] }
",
    );
    run.exit("listed", 1);
    run.exit("other", 2);
    run.exit("any", 255);
    run.exit("after", 0);
    insta::assert_snapshot!(run.shows(), @"failed listed=soft_failed other=failed any=soft_failed after=passed");
}

/// 1.6: "`key` stays shared by all jobs of the matrix: depending on it waits for all"; adjustments that skip, that fail
/// softly, and that add a combination.
#[test]
fn spec_1_6_a_matrix_with_adjustments() {
    let mut run = Run::new(
        "x",
        1,
        "
steps:
  - label: '{{matrix.os}}-{{matrix.arch}}'
    key: test
    command: test
    matrix:
      setup: { os: [linux, mac], arch: [arm, x86] }
      adjustments:
        - { with: { os: mac, arch: x86 }, skip: true }
        - { with: { os: linux, arch: arm }, soft_fail: true }
        - { with: { os: bsd, arch: x86 } }
  - { command: after, key: after, depends_on: test }
",
    );
    let labels: Vec<&str> = run.graph.jobs_in_order().map(|job| run.graph.job(job).unwrap().label()).collect();
    insta::assert_snapshot!(labels.join(" "), @"linux-arm linux-x86 mac-arm mac-x86 bsd-x86 after");
    run.exit("linux-arm", 1);
    run.exit("linux-x86", 0);
    run.exit("mac-arm", 0);
    assert_eq!(run.state("after"), JobState::Waiting);
    run.exit("bsd-x86", 0);
    run.exit("after", 0);
    insta::assert_snapshot!(run.shows(), @"passed test=soft_failed test=passed test=passed test=skipped test=passed after=passed");
}

/// 1.5: "`depends_on: group-key` means all children. A wait inside a group is local to that group", and what a group says
/// holds for each of its children.
#[test]
fn spec_1_5_groups() {
    let mut run = Run::new(
        "x",
        1,
        "
steps:
  - { command: first, key: first }
  - group: Tests
    key: tests
    depends_on: first
    steps:
      - { command: a, key: a }
      - wait
      - { command: b, key: b }
  - { command: free, key: free }
  - { command: after, key: after, depends_on: tests }
",
    );
    insta::assert_snapshot!(run.shows(), @"scheduled first=scheduled a=waiting wait=waiting b=waiting free=scheduled after=waiting");
    for name in ["free", "first", "a", "b"] {
        run.exit(name, 0);
    }
    insta::assert_snapshot!(run.shows(), @"scheduled first=passed a=passed wait=passed b=passed free=passed after=scheduled");
}

/// 1.4: "when the build turns `failing`, this job (if not finished) is cancelled".
#[test]
fn spec_1_4_cancel_on_build_failing() {
    let mut run = Run::new(
        "x",
        1,
        "
steps:
  - { command: a, key: a }
  - { command: slow, key: slow, cancel_on_build_failing: true }
  - { command: other, key: other }
",
    );
    run.exit("a", 1);
    insta::assert_snapshot!(run.shows(), @"failing a=failed slow=canceling other=scheduled");
    run.end("slow", Cause::Canceled, None);
    run.exit("other", 0);
    insta::assert_snapshot!(run.shows(), @"failed a=failed slow=canceled other=passed");
}
