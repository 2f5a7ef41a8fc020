//! Findings the way `rustc` shows them.

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};
use tidegate_core::diagnostic::{Diagnostic, Severity};

/// The findings with the lines they are about. `colour` adds escape sequences.
pub fn text(diagnostics: &[Diagnostic], colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for diagnostic in diagnostics {
        out.push_str(&one(diagnostic, &renderer));
        out.push_str("\n\n");
    }
    out
}

fn one(diagnostic: &Diagnostic, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let message = visible(&diagnostic.message);
    let title = level.primary_title(&message).id(&*diagnostic.code);
    let help = diagnostic.help.as_deref().map(visible);
    let help = help.as_deref().map(|help| Level::HELP.message(help));
    let Some(piece) = &diagnostic.snippet else {
        let group = title.element(Origin::path(&*diagnostic.file));
        let group = help.into_iter().fold(group, |group, help| group.element(help));
        return renderer.render(&[group]).to_string();
    };
    let line = visible(&piece.text);
    let skip = diagnostic.column.saturating_sub(piece.column) as usize;
    let at = offset(&line, skip);
    let end = offset(&line, skip + diagnostic.length.max(1) as usize).max(at);
    // A place behind the last character, such as the missing value of a key, is marked by one column.
    let place = AnnotationKind::Primary.span(at..end.max(at));
    let snippet =
        Snippet::source(&*line).path(&*diagnostic.file).line_start(diagnostic.line as usize).annotation(place);
    let group = title.element(snippet);
    let group = help.into_iter().fold(group, |group, help| group.element(help));
    renderer.render(&[group]).to_string()
}

/// The byte at which the character of this number begins.
fn offset(line: &str, characters: usize) -> usize {
    line.char_indices().nth(characters).map_or(line.len(), |(at, _)| at)
}

/// The text without characters that a terminal would act on. One character stays one character, so that columns hold.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}
