//! Draws problems, and finds places in a text.

use std::fmt::Write as _;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use crate::problems::{Problem, Source};

/// The whole report, a blank line after each problem, then how many there are.
pub(crate) fn all(problems: &[Problem], sources: &[Source], colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut drawn = String::new();
    for problem in problems {
        drawn.push_str(&one(problem, &sources[problem.source], &renderer));
        drawn.push_str("\n\n");
    }
    let plural = if problems.len() == 1 { "" } else { "s" };
    // Writing into a String can't fail.
    let _infallible = writeln!(drawn, "{} problem{plural} found", problems.len());
    drawn
}

fn one(problem: &Problem, source: &Source, renderer: &Renderer) -> String {
    let title = printable(&problem.title());
    let fix = printable(&problem.fix);
    let file = printable(&source.file);
    let mut group = Group::with_title(Level::ERROR.primary_title(title));
    let line = line_of(&source.text, &problem.span);
    let shown = printable(line.text);
    // What is missing at the root has no line of its own.
    if shown.trim().is_empty() || problem.span == (0..0) {
        group = group.element(Origin::path(file).line(problem.line).char_column(problem.column));
    } else {
        let marked = line.marked(&problem.span);
        let snippet =
            Snippet::source(shown).line_start(problem.line).path(file).annotation(AnnotationKind::Primary.span(marked));
        group = group.element(snippet);
    }
    if !fix.is_empty() {
        group = group.element(Level::HELP.message(fix));
    }
    renderer.render(&[group])
}

/// The first line of a span, cut to what a terminal shows.
struct Line<'t> {
    text: &'t str,
    start: usize,
}

/// LIMIT: longer lines are shown up to here; their rest helps nobody.
const LINE_CHARS_MAX: usize = 400;

fn line_of<'t>(text: &'t str, span: &Range<usize>) -> Line<'t> {
    let start = text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[start..].split('\n').next().unwrap_or_default();
    let cut = line.char_indices().nth(LINE_CHARS_MAX).map_or(line.len(), |(index, _)| index);
    Line { text: line[..cut].trim_end(), start }
}

impl Line<'_> {
    /// The span inside [`printable`] of this line: counted in its bytes, which differ where characters were replaced.
    fn marked(&self, span: &Range<usize>) -> Range<usize> {
        let place = |at: usize| {
            let at = at.saturating_sub(self.start).min(self.text.len());
            printable(&self.text[..at]).len()
        };
        // What is missing is marked by the character that stands in its place.
        let end = match self.text.get(span.start.saturating_sub(self.start)..).and_then(|rest| rest.chars().next()) {
            Some(character) => span.end.max(span.start + character.len_utf8()),
            None => span.end,
        };
        place(span.start)..place(end)
    }
}

/// Control characters and the marks that turn a line's direction are shown as `�`: a file must not be able
/// to write to the terminal of the one who checks it.
fn printable(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\t' => ' ',
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
            character if character.is_control() => '\u{fffd}',
            character => character,
        })
        .collect()
}

/// The span, moved to where characters begin and end, and into the text.
pub(crate) fn within(text: &str, span: Range<usize>) -> Range<usize> {
    let boundary = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = boundary(span.start);
    start..boundary(span.end).max(start)
}

/// Line and column (in characters) of a place, both from 1.
pub(crate) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..within(text, at..at).start];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
