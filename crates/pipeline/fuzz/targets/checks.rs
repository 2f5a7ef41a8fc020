// What must hold for any input. The fuzz targets and the test that replays their corpora share this file.

use tidegate_pipeline::condition::{Condition, EntryPoint, Facts, validate};
use tidegate_pipeline::interpolate::{identifiers, interpolate};
use tidegate_pipeline::{Context, Glob, Limits, Source, Unset, expand, lint, normalize, plan_view, render, view};

/// Any bytes as a pipeline file.
pub(crate) fn yaml(data: &[u8]) {
    let source = Source { name: "p", text: data };
    let env = vec![("A".to_owned(), "x y".to_owned()), ("E".to_owned(), String::new())];
    for context in [
        Context { env, changed_files: Some(vec!["src/a.rs".to_owned()]), ..Context::default() },
        Context { unset: Unset::Unknown, ..Context::default() },
    ] {
        let expansion = expand(source, &context);
        assert_eq!(expansion.segment.is_none(), expansion.diagnostics.iter().any(|finding| finding.is_error()));
        if let Some(segment) = &expansion.segment {
            let plan = plan_view(segment);
            let _ = (view::text(&plan), view::mermaid(&plan));
        }
        let _ = render::text(&expansion.diagnostics, false);
    }
    let _ = render::github(&lint(source, &Context::for_lint()));
    let plain = Context { interpolate: false, ..Context::default() };
    if let Some(once) = normalize(source, &plain).json {
        let text = once.to_string();
        // What a cap lets through once it may stop the second time: escapes are longer than what they stand for.
        if let Some(twice) = normalize(Source::new("p", &text), &plain).json {
            assert_eq!(once, twice);
        }
    }
}

/// Any text as a text with variables.
pub(crate) fn interpolation(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let env = [("A".to_owned(), "\u{e9}x".to_owned()), ("B_1".to_owned(), String::new())];
    let done = interpolate(text, &env);
    assert_eq!(identifiers(text).is_err(), done.as_ref().is_err_and(|error| !error.required));
    if let Err(error) = done {
        assert!(error.start <= error.end && error.end <= text.len());
    } else if !text.contains('$') {
        assert_eq!(done.as_deref(), Ok(text));
    }
}

/// Any text as a condition.
pub(crate) fn condition(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let limits = Limits { regex_backtracks: 10_000, ..Limits::default() };
    if let Err(errors) = validate(text, EntryPoint::StepNotification, &limits) {
        assert!(!errors.is_empty());
        for error in errors {
            assert!(error.span.start <= error.span.end && error.span.end <= text.len());
            assert!(error.column(text) >= 1);
        }
    }
    let Ok(condition) = Condition::parse(text, &limits) else { return };
    // Printed, it is nested deeper than written.
    let deep = Limits { expression_depth: 1000, condition_bytes: 1 << 20, ..limits };
    let printed = condition.to_string();
    let again = Condition::parse(&printed, &deep).unwrap_or_else(|error| panic!("{printed}: {error}"));
    assert_eq!(condition, again, "{printed}");
    let mut facts = Facts { entry_point: EntryPoint::StepNotification, ..Facts::default() };
    facts.build.branch = Some("main".to_owned());
    facts.build_env.insert("A".to_owned(), "x".to_owned());
    if condition.check(facts.entry_point).is_empty() {
        let _ = condition.evaluate(&facts);
        let _ = condition.values(&facts);
    }
}

/// A glob and a path, separated by a newline.
pub(crate) fn glob(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (pattern, path) = text.split_once('\n').unwrap_or((text, ""));
    if pattern.len() > 1000 || path.len() > 1000 {
        return;
    }
    if let Ok(glob) = Glob::new(pattern) {
        let matched = glob.matches(path);
        if !pattern.contains(['*', '?', '{', '[', '\\']) {
            assert_eq!(matched, pattern == path);
        }
    }
}
