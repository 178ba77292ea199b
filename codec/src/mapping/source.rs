//! Where a text comes from: a place in the tree, or a template over the names in sight.

use std::borrow::Cow;

use super::names::{Names, Template};
use super::place::{Place, Tree};

/// Where a text comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A scalar of the tree.
    Place(Place),
    /// Names put together.
    Template(Template),
}

impl Source {
    /// The text. `None`: nothing stands there, or null, or no scalar; or a name is missing.
    pub(crate) fn text<'n>(&'n self, tree: &Tree<'n>, names: &Names<'n>) -> Option<Cow<'n, str>> {
        match self {
            Source::Place(place) => place.first(tree)?.scalar().map(Cow::Borrowed),
            Source::Template(template) => template.fill(names).ok().map(Cow::Owned),
        }
    }
}
