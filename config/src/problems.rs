//! What is wrong with a configuration: gathered, ordered, shown.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use crate::render;

/// One fault and its cure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named to [`crate::Document::parse`].
    pub file: Rc<str>,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The path of the key, such as `serial[0].baud`; empty for the file as a whole.
    pub key: String,
    /// What is wrong, to be read after the key.
    pub what: String,
    /// What to do about it; empty where `what` says all.
    pub fix: String,
    /// Bytes of the file's text that are at fault; empty: something is missing there.
    pub span: Range<usize>,
    pub(crate) source: usize,
}

impl Problem {
    /// The first line of the drawn problem: key and fault.
    pub fn title(&self) -> String {
        if self.key.is_empty() { self.what.clone() } else { format!("{}: {}", self.key, self.what) }
    }
}

pub(crate) struct Source {
    pub(crate) file: Rc<str>,
    pub(crate) text: Rc<str>,
    /// Lines that have a syntax error, from 1. What is read from them is guesswork.
    pub(crate) broken_lines: Vec<usize>,
}

#[derive(Default)]
struct Noted {
    sources: Vec<Source>,
    problems: Vec<Problem>,
}

/// All problems of one or several files. Readers note into it through a shared reference.
#[derive(Default)]
pub struct Problems {
    noted: RefCell<Noted>,
}

impl Problems {
    /// None yet.
    pub fn new() -> Problems {
        Problems::default()
    }

    /// Whether all is well so far.
    pub fn is_empty(&self) -> bool {
        self.noted.borrow().problems.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.noted.borrow().problems.len()
    }

    /// All of them: by file, then in the order of the text.
    pub fn list(&self) -> Vec<Problem> {
        let mut list = self.noted.borrow().problems.clone();
        list.sort_by_key(|problem| (problem.source, problem.span.start, problem.span.end));
        list
    }

    /// Draws them all, with the lines of the files that they are about. Ends with a line that counts them.
    pub fn render(&self, colour: bool) -> String {
        render::all(&self.list(), &self.noted.borrow().sources, colour)
    }

    /// The checked value, if nothing at all is wrong.
    pub fn into_result<T>(self, value: Option<T>) -> Result<T, Problems> {
        match value {
            Some(value) if self.is_empty() => Ok(value),
            Some(_) | None => Err(self),
        }
    }

    pub(crate) fn add_source(&self, file: &str, text: &str) -> usize {
        let sources = &mut self.noted.borrow_mut().sources;
        sources.push(Source { file: file.into(), text: text.into(), broken_lines: Vec::new() });
        sources.len() - 1
    }

    /// Notes a syntax error. Of a line only the first counts: the others mostly follow from it.
    pub(crate) fn note_syntax(&self, source: usize, span: Range<usize>, what: String, fix: String) {
        let (line, _) = render::line_and_column(&self.noted.borrow().sources[source].text, span.start);
        if !self.noted.borrow().sources[source].broken_lines.contains(&line) {
            self.note(source, span, String::new(), what, fix);
            self.noted.borrow_mut().sources[source].broken_lines.push(line);
        }
    }

    /// Notes a fault of a value, unless it may be nothing but the consequence of a syntax error.
    pub(crate) fn note_value(&self, source: usize, span: Range<usize>, key: &str, what: String, fix: String) {
        let guesswork = {
            let of = &self.noted.borrow().sources[source];
            let (line, _) = render::line_and_column(&of.text, span.start);
            !of.broken_lines.is_empty() && (span.is_empty() || of.broken_lines.contains(&line))
        };
        if !guesswork {
            self.note(source, span, key.to_owned(), what, fix);
        }
    }

    /// Notes that something is missing, unless a syntax error may have hidden it.
    pub(crate) fn note_missing(&self, source: usize, span: Range<usize>, key: &str, what: String, fix: String) {
        if self.noted.borrow().sources[source].broken_lines.is_empty() {
            self.note(source, span, key.to_owned(), what, fix);
        }
    }

    fn note(&self, source: usize, span: Range<usize>, key: String, what: String, fix: String) {
        let noted = &mut *self.noted.borrow_mut();
        let of = &noted.sources[source];
        let span = render::within(&of.text, span);
        let (line, column) = render::line_and_column(&of.text, span.start);
        noted.problems.push(Problem { file: of.file.clone(), line, column, key, what, fix, span, source });
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}
