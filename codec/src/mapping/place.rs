//! Where something stands in a tree.

use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;

use serde_json::Value;
use serde_json_path::{JsonPath, PathElement};

use super::names::Pattern;
use crate::tree::Node;

/// Where something stands, seen from a scope.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// The scope's own node.
    Whole,
    /// A key of the scope's object, as it is written.
    Key(String),
    /// Each key that the pattern matches.
    Keys(Pattern),
    /// What an RFC 9535 path selects.
    Path(Path),
}

/// A scope's node; its JSON form is made once, when a path first asks for it.
#[derive(Debug)]
pub(crate) struct Tree<'n> {
    pub(crate) node: &'n Node<'n>,
    json: OnceCell<Value>,
    /// Positions of the keys of wide objects, so that a path with `*` stays linear in their number.
    wide: RefCell<HashMap<*const Node<'n>, HashMap<&'n str, usize>>>,
}

/// Objects of more keys than this are indexed.
const WIDE: usize = 32;

/// One node that a place found.
#[derive(Debug)]
pub(crate) struct Found<'n> {
    /// Where it stands in the input, to put readings in its order: the first four positions, 16 bits each.
    pub(crate) order: u64,
    pub(crate) node: &'n Node<'n>,
    /// The last key on the way to it; empty where there is none.
    pub(crate) key: &'n str,
    /// The last position in a list on the way to it.
    pub(crate) index: Option<usize>,
    pub(crate) captures: Vec<(&'n str, Cow<'n, str>)>,
}

impl<'n> Found<'n> {
    fn new(node: &'n Node<'n>) -> Found<'n> {
        Found { order: 0, node, key: "", index: None, captures: Vec::new() }
    }

    fn key(position: usize, key: &'n str, node: &'n Node<'n>) -> Found<'n> {
        Found { order: deeper(0, 0, position), key, ..Found::new(node) }
    }
}

impl<'n> Found<'n> {
    /// Tells the parts of an object that its decoder could not read.
    pub(crate) fn bad_parts(node: &'n Node<'n>, tell: &mut dyn FnMut(Found<'n>)) {
        for (position, (key, node)) in node.entries().iter().enumerate() {
            if let Node::Bad(_) = node {
                tell(Found::key(position, key, node));
            }
        }
    }
}

fn deeper(order: u64, level: usize, position: usize) -> u64 {
    let position = u64::try_from(position + 1).unwrap_or(u64::MAX).min(0xFFFF);
    if level < 4 { order | position << (48 - 16 * level) } else { order }
}

impl<'n> Tree<'n> {
    pub(crate) fn new(node: &'n Node<'n>) -> Tree<'n> {
        Tree { node, json: OnceCell::new(), wide: RefCell::default() }
    }

    /// Follows one step; keys are looked up in our tree, where their order is known.
    fn step(&self, found: &Found<'n>, level: usize, element: &PathElement<'_>) -> Option<Found<'n>> {
        match element {
            PathElement::Name(name) => {
                let entries = found.node.entries();
                let position = self.position(found.node, name)?;
                let (key, node) = &entries[position];
                let order = deeper(found.order, level, position);
                Some(Found { order, key, index: found.index, ..Found::new(node) })
            }
            PathElement::Index(index) => {
                let node = found.node.element(*index)?;
                let order = deeper(found.order, level, *index);
                Some(Found { order, key: found.key, index: Some(*index), ..Found::new(node) })
            }
        }
    }

    /// Where an object first has a key.
    fn position(&self, node: &'n Node<'n>, name: &str) -> Option<usize> {
        let entries = node.entries();
        if entries.len() <= WIDE {
            return entries.iter().position(|(key, _)| key == name);
        }
        let index = || entries.iter().enumerate().rev().map(|(at, (key, _))| (key.as_ref(), at)).collect();
        self.wide.borrow_mut().entry(std::ptr::from_ref(node)).or_insert_with(index).get(name).copied()
    }

    fn walk<'p>(&self, steps: impl Iterator<Item = PathElement<'p>>) -> Option<Found<'n>> {
        steps.enumerate().try_fold(Found::new(self.node), |found, (level, step)| self.step(&found, level, &step))
    }
}

impl Place {
    /// Tells every node that stands there.
    pub(crate) fn find<'n>(&'n self, tree: &Tree<'n>, tell: &mut dyn FnMut(Found<'n>)) {
        let node = tree.node;
        match self {
            Place::Whole => tell(Found::new(node)),
            Place::Key(wanted) => {
                for (position, (key, node)) in node.entries().iter().enumerate().filter(|(_, (key, _))| key == wanted) {
                    tell(Found::key(position, key, node));
                }
            }
            Place::Keys(pattern) => {
                for (position, (key, node)) in node.entries().iter().enumerate() {
                    if let Some(captures) = pattern.captures(key) {
                        tell(Found { captures, ..Found::key(position, key, node) });
                    }
                }
            }
            Place::Path(path) => path.find(tree, tell),
        }
    }

    /// The first node that stands there.
    pub(crate) fn first<'n>(&'n self, tree: &Tree<'n>) -> Option<&'n Node<'n>> {
        match self {
            Place::Key(key) => tree.node.get(key),
            Place::Whole | Place::Keys(_) | Place::Path(_) => {
                let mut first = None;
                self.find(tree, &mut |found| {
                    first.get_or_insert(found.node);
                });
                first
            }
        }
    }

    /// The names that a match binds, beside `key` and `index`.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let pattern = match self {
            Place::Keys(pattern) => Some(pattern),
            Place::Whole | Place::Key(_) | Place::Path(_) => None,
        };
        pattern.into_iter().flat_map(Pattern::names)
    }
}

/// A JSONPath. One that only goes down by keys and positions is followed without the engine.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    path: JsonPath,
    steps: Option<Vec<Step>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(usize),
}

impl Path {
    pub(crate) fn parse(text: &str) -> Result<Path, String> {
        let path = JsonPath::parse(text)
            .map_err(|error| format!("is no JSONPath (at character {}: {})", error.position() + 1, error.message()))?;
        Ok(Path { path, steps: plain_steps(text) })
    }

    fn find<'n>(&'n self, tree: &Tree<'n>, tell: &mut dyn FnMut(Found<'n>)) {
        if let Some(steps) = &self.steps {
            let elements = steps.iter().map(|step| match step {
                Step::Name(name) => PathElement::Name(name),
                Step::Index(index) => PathElement::Index(*index),
            });
            if let Some(found) = tree.walk(elements) {
                tell(found);
            }
            return;
        }
        let json = tree.json.get_or_init(|| tree.node.to_json());
        for located in self.path.query_located(json).iter() {
            if let Some(found) = tree.walk(located.location().iter().cloned()) {
                tell(found);
            }
        }
    }
}

/// The steps of a path such as `$.a['b:0'][1]`. `None`: it has selectors that need the engine.
fn plain_steps(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix('.') {
            let length = tail.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
            let (name, tail) = tail.split_at(length);
            steps.push(Step::Name((!name.is_empty()).then(|| name.to_owned())?));
            rest = tail;
        } else {
            let tail = rest.strip_prefix('[')?;
            let quote = tail.chars().next()?;
            if quote == '\'' || quote == '"' {
                let (name, tail) = tail[1..].split_once(quote)?;
                rest = tail.strip_prefix(']')?;
                steps.push(Step::Name((!name.contains('\\')).then(|| name.to_owned())?));
            } else {
                let (index, tail) = tail.split_once(']')?;
                let is_index = index.bytes().all(|byte| byte.is_ascii_digit());
                steps.push(Step::Index(is_index.then(|| index.parse().ok())??));
                rest = tail;
            }
        }
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Path, Place, Tree, plain_steps};
    use crate::decode::Decoder;

    const DOCUMENT: &str = r#"{"z":{"b:0":[{"v":1},{"v":2}]},"a-b":3,"a":{"v":4,"u":"x"}}"#;

    fn find(path: &str) -> Vec<(String, String)> {
        let tree = Decoder::Json.decode(DOCUMENT.as_bytes()).unwrap();
        let place = Place::Path(Path::parse(path).unwrap());
        let mut found = Vec::new();
        place.find(&Tree::new(&tree), &mut |one| {
            found.push((one.order, one.key.to_owned(), one.node.scalar().unwrap_or("-").to_owned()));
        });
        found.sort();
        found.into_iter().map(|(_, key, text)| (key, text)).collect()
    }

    fn check(path: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        assert_eq!(find(path), expected, "{path}");
    }

    #[test]
    fn paths_find_nodes_in_the_order_of_the_input() {
        check("$.z['b:0'][1].v", &[("v", "2")]);
        check("$..v", &[("v", "1"), ("v", "2"), ("v", "4")]);
        check("$.z['b:0'][-1].v", &[("v", "2")]);
        check("$.z['b:0'][?@.v == 1].v", &[("v", "1")]);
        check("$['a-b']", &[("a-b", "3")]);
        check("$.none", &[]);
        check("$.*", &[("z", "-"), ("a-b", "3"), ("a", "-")]);
    }

    #[test]
    fn plain_paths_need_no_engine_and_others_do() {
        for path in ["$", "$.a", "$['x y'].b_1[0]", "$[\"q\"]"] {
            assert!(plain_steps(path).is_some(), "{path}");
        }
        for path in ["$.*", "$..a", "$[-1]", "$[0:2]", "$[?@.a]", "$['a\\'b']", "$['a','b']"] {
            assert!(plain_steps(path).is_none(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn both_ways_to_follow_a_path_agree(path in "\\$(\\.[za-b]|\\['[za:0b-]{1,3}'\\]|\\[[0-2]\\]|\\.\\*){0,4}") {
            if let Ok(mut parsed) = Path::parse(&path) {
                let tree = Decoder::Json.decode(DOCUMENT.as_bytes()).unwrap();
                let count = |path: Path| {
                    let place = Place::Path(path);
                    let mut orders = Vec::new();
                    place.find(&Tree::new(&tree), &mut |found| orders.push(found.order));
                    orders
                };
                let ours = count(parsed.clone());
                parsed.steps = None;
                prop_assert_eq!(ours, count(parsed));
            }
        }

        #[test]
        fn no_path_breaks_it(path in "\\$[\\[\\].*?@a-c0-2':,<>=()&|! -]{0,16}") {
            if let Ok(parsed) = Path::parse(&path) {
                let tree = Decoder::Json.decode(DOCUMENT.as_bytes()).unwrap();
                Place::Path(parsed).find(&Tree::new(&tree), &mut |_| {});
            }
        }
    }
}
