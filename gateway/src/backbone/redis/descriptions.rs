//! What devices were last described as, as Redis keeps it.
//!
//! ```text
//! described[DEVICE]    generation (4) │ order (16) │ tags, in one text
//! descriptions[DEVICE] the encoded description
//! ```
//!
//! Generation and order are those of shadows.rs. The description is apart, for it is large, and lists need only the tags.

use std::collections::HashMap;

use lockgate_proto::convert::description_from_bytes;
use lockgate_proto::description::Description;
use lockgate_proto::ids::{DeviceName, Tag};
use redis::cmd;

use super::keys::RoomKeys;
use super::nodes::Nodes;
use crate::backbone::BackboneError;
use crate::backbone::tags_logic::tags_from_text;

/// Bytes in front of the tags: generation and order.
const MARK_BYTES: usize = 20;

/// One device's.
pub(super) async fn read(
    nodes: &Nodes,
    keys: &RoomKeys,
    device: &DeviceName,
) -> Result<Option<Description>, BackboneError> {
    let asked = cmd("HGET").arg(keys.descriptions()).arg(device.as_str()).take();
    let stored: Option<Vec<u8>> = nodes.ask_one(keys, asked).await?;
    let read = |stored: Vec<u8>| description_from_bytes(&stored).map_err(|_| damaged("a description is not readable"));
    stored.map(read).transpose()
}

/// The tags of all devices that have some.
pub(super) async fn tags(nodes: &Nodes, keys: &RoomKeys) -> Result<HashMap<String, Vec<Tag>>, BackboneError> {
    let stored: Vec<(String, Vec<u8>)> = nodes.ask_one(keys, cmd("HGETALL").arg(keys.described()).take()).await?;
    let tags = |(device, stored): (String, Vec<u8>)| {
        let text = stored.get(MARK_BYTES..).and_then(|text| std::str::from_utf8(text).ok());
        let tags = text.and_then(tags_from_text).ok_or_else(|| damaged("the tags of a device are not readable"))?;
        Ok((device, tags))
    };
    stored.into_iter().map(tags).collect()
}

fn damaged(what: &str) -> BackboneError {
    BackboneError::Damaged { what: what.to_owned() }
}
