//! Where a value stands: its file, its key path, its bytes.

use std::ops::Range;
use std::rc::Rc;

use crate::problems::Problems;

/// A place in a document, and where to note what is wrong there.
#[derive(Clone)]
pub(crate) struct Place<'d> {
    pub(crate) problems: &'d Problems,
    pub(crate) source: usize,
    /// Path of the key; empty at the root.
    pub(crate) path: Rc<str>,
    pub(crate) span: Range<usize>,
}

impl<'d> Place<'d> {
    pub(crate) fn note(&self, what: impl Into<String>, fix: impl Into<String>) {
        self.problems.note_value(self.source, self.span.clone(), &self.path, what.into(), fix.into());
    }

    /// The place of a key of the table that stands here.
    pub(crate) fn key(&self, key: &str, span: Range<usize>) -> Place<'d> {
        let key = if is_bare(key) { key.to_owned() } else { format!("{key:?}") };
        let path = if self.path.is_empty() { key } else { format!("{}.{key}", self.path) };
        Place { problems: self.problems, source: self.source, path: path.into(), span }
    }

    /// The place of an item of the array that stands here, counted from 0.
    pub(crate) fn index(&self, index: usize, span: Range<usize>) -> Place<'d> {
        let path = format!("{}[{index}]", self.path);
        Place { problems: self.problems, source: self.source, path: path.into(), span }
    }
}

fn is_bare(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}
