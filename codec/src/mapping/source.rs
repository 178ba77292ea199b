//! Where a text comes from: a place in the tree, or a template over the names in sight.

use std::borrow::Cow;

use super::names::{Names, Template};
use super::place::{Place, Tree};

/// A text of the payload or of names, and what it stands for.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) origin: Origin,
    /// Texts that stand for others; one that is not here is kept.
    pub(crate) map: Vec<(String, String)>,
}

/// Where a text comes from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// A scalar of the tree.
    Place(Place),
    /// Names put together.
    Template(Template),
}

impl Source {
    /// The text. `None`: nothing stands there, or null, or no scalar; or a name is missing.
    pub(crate) fn text<'n>(&'n self, tree: &Tree<'n>, names: &Names<'n>) -> Option<Cow<'n, str>> {
        let text = match &self.origin {
            Origin::Place(place) => Cow::Borrowed(place.first(tree)?.scalar()?),
            Origin::Template(template) => Cow::Owned(template.fill(names).ok()?),
        };
        match self.map.iter().find(|(key, _)| *key == text) {
            Some((_, other)) => Some(Cow::Borrowed(other)),
            None => Some(text),
        }
    }
}
