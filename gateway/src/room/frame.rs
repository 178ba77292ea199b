//! Frames a `ServerFrame { delivery }` around entries that are encoded already: their bytes are copied, not
//! encoded again. The numbers are those of client.proto; a test holds this against the generated encoder.

use bytes::{BufMut, Bytes, BytesMut};

/// `ServerFrame.delivery`: field 16, length-delimited.
const DELIVERY_TAG: [u8; 2] = [0x82, 0x01];
/// `Delivery.site`: field 1, length-delimited.
const SITE_TAG: u8 = 0x0a;
/// `Delivery.entries`: field 2, length-delimited.
const ENTRIES_TAG: u8 = 0x12;

/// One message that delivers the encoded entries of a site, in the order given.
pub fn frame_delivery<'e, I>(site: &str, entries: I) -> Bytes
where
    I: Iterator<Item = &'e Bytes> + Clone,
{
    let site_bytes = 1 + varint_bytes(site.len()) + site.len();
    let entries_bytes: usize = entries.clone().map(|entry| 1 + varint_bytes(entry.len()) + entry.len()).sum();
    let delivery_bytes = site_bytes + entries_bytes;

    let mut frame = BytesMut::with_capacity(DELIVERY_TAG.len() + varint_bytes(delivery_bytes) + delivery_bytes);
    frame.put_slice(&DELIVERY_TAG);
    put_varint(&mut frame, delivery_bytes);
    frame.put_u8(SITE_TAG);
    put_varint(&mut frame, site.len());
    frame.put_slice(site.as_bytes());
    for entry in entries {
        frame.put_u8(ENTRIES_TAG);
        put_varint(&mut frame, entry.len());
        frame.put_slice(entry);
    }
    frame.freeze()
}

fn put_varint(buffer: &mut BytesMut, value: usize) {
    prost::encoding::encode_varint(value as u64, buffer);
}

fn varint_bytes(value: usize) -> usize {
    prost::encoding::encoded_len_varint(value as u64)
}

#[cfg(test)]
mod tests {
    use lockgate_proto::wire;
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    proptest! {
        #[test]
        fn the_frame_is_what_the_generated_encoder_makes(
            site in "[a-zäß/ ]{1,200}",
            entries in prop::collection::vec((1_u64.., any::<u64>(), any::<i64>()), 0..40),
        ) {
            let entries: Vec<wire::Entry> = entries
                .into_iter()
                .map(|(offset, stamp, received_at_us)| wire::Entry { offset, stamp, received_at_us, ..Default::default() })
                .collect();
            let encoded: Vec<Bytes> = entries.iter().map(|entry| entry.encode_to_vec().into()).collect();
            let whole = wire::ServerFrame {
                id: 0,
                body: Some(wire::server_frame::Body::Delivery(wire::Delivery { site: site.clone(), entries })),
            };
            prop_assert_eq!(frame_delivery(&site, encoded.iter()), whole.encode_to_vec());
        }
    }
}
