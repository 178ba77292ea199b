//! When a route, a value or a group applies.

use std::borrow::Cow;

use super::names::{Names, Pattern};
use super::place::{Place, Tree};

/// Something that must hold.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    pub(crate) subject: Subject,
    /// The text is one of these; empty: any.
    pub(crate) is: Vec<String>,
    /// The text is none of these.
    pub(crate) is_not: Vec<String>,
    /// The text has this form.
    pub(crate) like: Option<Pattern>,
    /// Whether anything stands there at all, if only null.
    pub(crate) present: Option<bool>,
}

/// What a condition is about.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    /// A name in sight.
    Name(String),
    /// A place in the tree.
    Place(Place),
}

impl Condition {
    /// Whether it holds. What `like` captures becomes names.
    pub(crate) fn holds<'n>(&'n self, tree: &Tree<'n>, names: &mut Names<'n>) -> bool {
        let (present, text) = match &self.subject {
            Subject::Name(name) => {
                let text = names.get(name).map(|text| Cow::Owned(text.to_owned()));
                (text.is_some(), text)
            }
            Subject::Place(place) => {
                let node = place.first(tree);
                (node.is_some(), node.and_then(|node| node.scalar()).map(Cow::Borrowed))
            }
        };
        let text = text.as_deref();
        self.present.is_none_or(|wanted| wanted == present)
            && (self.is.is_empty() || text.is_some_and(|text| self.is.iter().any(|is| is == text)))
            && text.is_none_or(|text| self.is_not.iter().all(|is_not| is_not != text))
            && self.like.as_ref().is_none_or(|like| text.is_some_and(|text| like.bind(text, names)))
    }
}
