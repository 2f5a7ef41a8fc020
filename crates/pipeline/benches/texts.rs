//! What planning and linting cost, by text: `cargo bench -p tidegate-pipeline [-- NAME]`.

#[path = "../../../benches/pipeline/src/texts.rs"]
#[expect(dead_code, reason = "what was promised is held by benches/figures")]
mod texts;

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use tidegate_pipeline::{Context, Source, expand, lint};

fn texts(criterion: &mut Criterion) {
    for case in texts::cases() {
        let text = (case.text)();
        let source = Source::new(case.name, &text);
        let for_lint = Context { limits: case.context.limits, ..Context::for_lint() };
        let mut group = criterion.benchmark_group(case.name);
        // The larger ones take long enough to tell.
        group.sample_size(20);
        group.bench_function("expand", |bencher| bencher.iter(|| expand(black_box(source), &case.context)));
        group.bench_function("lint", |bencher| bencher.iter(|| lint(black_box(source), &for_lint)));
        group.finish();
    }
}

criterion_group!(benches, texts);
criterion_main!(benches);
