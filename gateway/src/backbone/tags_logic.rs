//! Tags in one text, as engines keep them beside what they list of a device.

use lockgate_proto::ids::Tag;

/// No name has a control character.
const BETWEEN: char = '\n';

/// The tags as one text; empty where there are none.
pub(super) fn tags_to_text(tags: &[Tag]) -> String {
    let mut text = String::with_capacity(tags.iter().map(|tag| tag.as_str().len() + 1).sum());
    for tag in tags {
        if !text.is_empty() {
            text.push(BETWEEN);
        }
        text.push_str(tag.as_str());
    }
    text
}

/// The tags of a text; `None`: it is no such text.
pub(super) fn tags_from_text(text: &str) -> Option<Vec<Tag>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    text.split(BETWEEN).map(|tag| Tag::new(tag).ok()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn tags_come_back_as_they_were(tags in prop::collection::vec("[a-zü /,:]{1,5}", 0..5)) {
            let tags: Vec<Tag> = tags.into_iter().map(|tag| Tag::new(tag).unwrap()).collect();
            prop_assert_eq!(tags_from_text(&tags_to_text(&tags)), Some(tags));
        }
    }

    #[test]
    fn what_is_damaged_is_seen() {
        assert_eq!(tags_from_text("a\n\nb"), None);
        assert_eq!(tags_from_text("a\tb"), None);
    }
}
