//! Findings that no file of a readable size shows: what is no text, and what is beyond a cap.

use tidegate_core::diagnostic::Diagnostic;
use tidegate_pipeline::condition::{Build, Facts};
use tidegate_pipeline::{Context, Limits, Source, Unset, expand};

/// One finding for each.
pub(crate) fn findings() -> Vec<Diagnostic> {
    let small = Limits { bytes: 200, depth: 8, nodes: 40, aliases: 3, expanded_bytes: 400, ..Limits::default() };
    let bomb = "a: &a [x, x, x, x]\nb: &b [*a, *a, *a]\nsteps: []\n";
    let many = format!("steps:\n{}", "  - {command: make, image: a, cache: b}\n".repeat(300));
    let cases: Vec<(&str, Vec<u8>, Context)> = vec![
        ("empty", Vec::new(), Context::default()),
        ("latin-1", b"steps:\n  - label: caf\xe9\n    command: make\n".to_vec(), Context::default()),
        ("utf-16", b"\xff\xfes\0t\0e\0p\0s\0".to_vec(), Context::default()),
        ("nul", b"steps:\n  - command: ma\0ke\n".to_vec(), Context::default()),
        ("bytes", vec![b'#'; 201], limited(small)),
        ("depth", b"x: [[[[[[[[[[]]]]]]]]]]\nsteps: []\n".to_vec(), limited(small)),
        ("nodes", format!("x: [{}]\nsteps: []\n", "1, ".repeat(50)).into_bytes(), limited(small)),
        ("bomb", bomb.as_bytes().to_vec(), limited(Limits { nodes: 16, aliases: 9, ..small })),
        ("aliases", b"a: &a b\nx: [*a, *a, *a, *a]\nsteps: []\n".to_vec(), limited(small)),
        (
            "interpolated",
            b"steps:\n  - command: $LONG $LONG $LONG\n".to_vec(),
            Context { env: vec![("LONG".to_owned(), "x".repeat(200))], ..limited(small) },
        ),
        ("required", b"steps:\n  - command: deploy ${TOKEN?is needed}\n".to_vec(), Context::default()),
        (
            "glob",
            b"steps:\n  - command: make\n    if_changed: src/**/something/very/long/indeed\n".to_vec(),
            limited(Limits { pattern_bytes: 20, ..small }),
        ),
        (
            "failed",
            b"steps:\n  - command: make\n    if: build.env(build.env(\"NAME\")) == \"x\"\n".to_vec(),
            Context { facts: Facts { build: Build::default(), ..Facts::default() }, ..Context::default() },
        ),
    ];
    cases
        .into_iter()
        .map(|(name, text, context)| {
            let expansion = expand(Source { name, text: &text }, &context);
            assert!(expansion.segment.is_none(), "{name}: no error");
            let mut found = expansion.diagnostics;
            assert_eq!(found.len(), 1, "{name}: {found:?}");
            found.remove(0)
        })
        .chain(expand(Source::new("many", &many), &Context::default()).diagnostics.pop())
        .collect()
}

fn limited(limits: Limits) -> Context {
    Context { limits, unset: Unset::Empty, ..Context::default() }
}
