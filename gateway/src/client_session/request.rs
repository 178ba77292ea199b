//! What clients ask: bytes → checked requests. Whatever is wrong with one is told by the field at fault.

pub(crate) mod orders;

use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use lockgate_proto::convert::{kind_from_wire, kind_to_wire};
use lockgate_proto::entry::EntryKind;
use lockgate_proto::ids::{DeviceName, MetricName, NameError, Site, Tag};
use lockgate_proto::position::{Offset, Position, Stamp};
use lockgate_proto::wire;

use crate::client_session::filter::Filter;
use crate::encoding::{Encoding, FrameError};

pub(crate) use orders::{CommandsPage, OrderRequest, SendRequest, Target, place_text};

/// Most devices that a filter may name, and most metrics.
pub(crate) const FILTER_NAMES_MAX: usize = 1_024;

/// Most entries that `last` may ask for.
const LAST_MAX: u32 = 10_000;

/// Longest span between two messages that may be asked for.
const CONFLATE_MAX: Duration = Duration::from_secs(60 * 60);

/// Most devices on one page of a list: with the longest names there are, it fits into a message.
pub(crate) const DEVICES_PAGE_MAX: usize = 1_000;

/// Longest name of a client's program that is taken over into logs, in characters.
const CLIENT_NAME_MAX: usize = 64;

/// Request number and request, or why there is none.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The number that the answer carries.
    pub(crate) id: u32,
    /// What is asked.
    pub(crate) request: Result<Request, RequestError>,
}

/// What a client may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// The first one of every connection.
    Connect {
        /// Who it is.
        token: String,
        /// Its program, for logs.
        client: String,
    },
    /// Entries of a room.
    Subscribe(SubscribeRequest),
    /// Anything that has one answer.
    Ask(Question),
    /// Something about commands.
    Order(OrderRequest),
}

/// What has one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// No more entries of a room.
    Unsubscribe(Site),
    /// The devices of a site.
    ListDevices(Site, Page),
    /// One device's last known values.
    GetShadow(Site, DeviceName),
    /// What was lost, by agent.
    GetLoss(Site),
    /// Who is in the room.
    ListPresence(Site),
    /// What one device measures and can be told to do.
    DescribeDevice(Site, DeviceName),
}

/// Which part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// What follows this one.
    pub(crate) after: Option<DeviceName>,
    /// `None`: all.
    pub(crate) limit: Option<usize>,
    /// Only those that have it.
    pub(crate) tag: Option<Tag>,
}

/// From where on, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubscribeRequest {
    /// The room.
    pub(crate) site: Site,
    /// Which entries.
    pub(crate) filter: Filter,
    /// From where on.
    pub(crate) start: Start,
    /// With the shadows first.
    pub(crate) snapshot: bool,
    /// Telemetry may come in short: where the reader is too slow, or always, once in so long.
    pub(crate) conflate: Option<Conflate>,
}

/// When telemetry comes in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conflate {
    /// Where the reader is too slow.
    WhenSlow,
    /// Always, and no more often than this.
    Every(Duration),
}

/// From where on entries are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// From now on.
    Live,
    /// After this one.
    Since(Position),
    /// The last so many, and then from now on.
    Last(u32),
}

/// What a client did wrong, or what stands in the way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct RequestError {
    pub(crate) code: wire::ErrorCode,
    pub(crate) message: String,
    /// The field at fault, as a path; empty: none.
    pub(crate) field: Cow<'static, str>,
    pub(crate) retry_after: Option<Duration>,
}

impl RequestError {
    /// An error that asking again without change will not cure.
    pub(crate) fn new(
        code: wire::ErrorCode,
        field: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> RequestError {
        RequestError { code, message: message.into(), field: field.into(), retry_after: None }
    }

    fn invalid(field: &'static str, message: impl Into<String>) -> RequestError {
        RequestError::new(wire::ErrorCode::Invalid, field, message)
    }

    /// The backbone can't answer now.
    pub(crate) fn unavailable(message: impl Into<String>, retry_after: Duration) -> RequestError {
        let retry_after = Some(retry_after);
        RequestError { retry_after, ..RequestError::new(wire::ErrorCode::Unavailable, "", message) }
    }
}

/// Reads one frame.
///
/// # Errors
/// The bytes are no frame at all: nobody can say what they were meant to be.
pub(crate) fn decode(encoding: Encoding, bytes: Bytes) -> Result<Asked, FrameError> {
    let frame = encoding.decode(bytes)?;
    let request = match frame.request {
        _ if frame.id == 0 => Err(RequestError::invalid(
            "id",
            "id is 0; number your requests from 1, so that their answers can be told apart",
        )),
        Some(request) => check(request),
        None => {
            Err(RequestError::invalid("request", "the frame has no request, or one that this gateway does not know"))
        }
    };
    Ok(Asked { id: frame.id, request })
}

fn check(request: wire::client_frame::Request) -> Result<Request, RequestError> {
    use wire::client_frame::Request as Wire;
    Ok(match request {
        Wire::Connect(connect) => Request::Connect {
            token: connect.token,
            client: connect.client.chars().filter(|c| !c.is_control()).take(CLIENT_NAME_MAX).collect(),
        },
        Wire::Subscribe(subscribe) => Request::Subscribe(check_subscribe(subscribe)?),
        Wire::Unsubscribe(wire::Unsubscribe { site: name }) => {
            Request::Ask(Question::Unsubscribe(site("unsubscribe.site", &name)?))
        }
        Wire::ListDevices(list) => {
            Request::Ask(Question::ListDevices(site("list_devices.site", &list.site)?, page(&list)?))
        }
        Wire::GetShadow(wire::GetShadow { site: name, device }) => Request::Ask(Question::GetShadow(
            site("get_shadow.site", &name)?,
            DeviceName::new(device).map_err(|error| bad_name("get_shadow.device", &error))?,
        )),
        Wire::ListPresence(wire::ListPresence { site: name }) => {
            Request::Ask(Question::ListPresence(site("list_presence.site", &name)?))
        }
        Wire::DescribeDevice(wire::DescribeDevice { site: name, device }) => Request::Ask(Question::DescribeDevice(
            site("describe_device.site", &name)?,
            DeviceName::new(device).map_err(|error| bad_name("describe_device.device", &error))?,
        )),
        Wire::GetLoss(wire::GetLoss { site: name }) => Request::Ask(Question::GetLoss(site("get_loss.site", &name)?)),
        Wire::SendCommand(send) => Request::Order(orders::send(send)?),
        Wire::GetCommand(get) => Request::Order(orders::get(&get)?),
        Wire::ListCommands(list) => Request::Order(orders::list(&list)?),
        Wire::CancelCommand(cancel) => Request::Order(orders::cancel(&cancel)?),
        Wire::UnfollowCommand(unfollow) => Request::Order(orders::unfollow(&unfollow)?),
    })
}

fn page(list: &wire::ListDevices) -> Result<Page, RequestError> {
    let after = (!list.after.is_empty()).then(|| DeviceName::new(&list.after)).transpose();
    let tag = (!list.tag.is_empty()).then(|| Tag::new(&list.tag)).transpose();
    let limit = usize::try_from(list.limit).unwrap_or(usize::MAX).min(DEVICES_PAGE_MAX);
    Ok(Page {
        after: after.map_err(|error| bad_name("list_devices.after", &error))?,
        limit: (limit > 0).then_some(limit),
        tag: tag.map_err(|error| bad_name("list_devices.tag", &error))?,
    })
}

fn check_subscribe(subscribe: wire::Subscribe) -> Result<SubscribeRequest, RequestError> {
    use wire::subscribe::Start as Wire;
    let filter = filter(&subscribe.filter.unwrap_or_default())?;
    let start = match subscribe.start {
        None | Some(Wire::Live(wire::Live {})) => Start::Live,
        Some(Wire::Since(wire::Position { offset, stamp })) => {
            Start::Since(Position { offset: Offset(offset), stamp: Stamp(stamp) })
        }
        Some(Wire::Last(count)) if count > LAST_MAX => {
            let message = format!("{count} entries are asked for; at most {LAST_MAX} are allowed");
            return Err(RequestError::invalid("subscribe.last", message));
        }
        Some(Wire::Last(count)) => Start::Last(count),
    };
    Ok(SubscribeRequest {
        site: site("subscribe.site", &subscribe.site)?,
        filter,
        start,
        snapshot: subscribe.snapshot,
        conflate: conflate(subscribe.conflate_ms)?,
    })
}

fn filter(filter: &wire::Filter) -> Result<Filter, RequestError> {
    let devices: Vec<DeviceName> = names("subscribe.filter.devices", &filter.devices)?;
    let metrics: Vec<MetricName> = names("subscribe.filter.metrics", &filter.metrics)?;
    let kinds: Option<Vec<EntryKind>> = filter.kinds.iter().map(|number| kind_from_wire(*number)).collect();
    let kinds = kinds.ok_or_else(|| {
        let known = EntryKind::ALL.map(|kind| kind_to_wire(kind).as_str_name()).join(", ");
        let message = format!("there is a kind that this gateway does not know; it knows {known}");
        RequestError::invalid("subscribe.filter.kinds", message)
    })?;
    Ok(Filter::of_devices(devices).of_kinds(kinds).of_metrics(metrics))
}

fn names<Name: FromStr<Err = NameError>>(field: &'static str, names: &[String]) -> Result<Vec<Name>, RequestError> {
    if names.len() > FILTER_NAMES_MAX {
        let message = format!("{} names are given; at most {FILTER_NAMES_MAX} are allowed", names.len());
        return Err(RequestError::invalid(field, message));
    }
    names.iter().map(|name| name.parse()).collect::<Result<_, _>>().map_err(|error| bad_name(field, &error))
}

fn conflate(millis: Option<u32>) -> Result<Option<Conflate>, RequestError> {
    let every = match millis {
        None => return Ok(None),
        Some(0) => return Ok(Some(Conflate::WhenSlow)),
        Some(millis) => Duration::from_millis(millis.into()),
    };
    if every > CONFLATE_MAX {
        let most = CONFLATE_MAX.as_millis();
        let message = format!("{} ms are asked for; at most {most} are allowed", every.as_millis());
        return Err(RequestError::invalid("subscribe.conflate_ms", message));
    }
    Ok(Some(Conflate::Every(every)))
}

fn site(field: &'static str, name: &str) -> Result<Site, RequestError> {
    Site::new(name).map_err(|error| bad_name(field, &error))
}

fn bad_name(field: &'static str, error: &NameError) -> RequestError {
    RequestError::invalid(field, format!("the name {error}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    fn asked(id: u32, request: Option<wire::client_frame::Request>) -> Asked {
        decode(Encoding::Protobuf, wire::ClientFrame { id, request }.encode_to_vec().into()).unwrap()
    }

    fn field_at_fault(subscribe: wire::Subscribe) -> Cow<'static, str> {
        asked(1, Some(wire::client_frame::Request::Subscribe(subscribe))).request.unwrap_err().field
    }

    #[test]
    fn the_field_at_fault_is_named() {
        let good = wire::Subscribe { site: "plant".into(), ..Default::default() };
        assert_eq!(field_at_fault(wire::Subscribe { site: String::new(), ..good.clone() }), "subscribe.site");
        let filtered = |filter| wire::Subscribe { filter: Some(filter), ..good.clone() };
        let bad = || vec!["a\u{7}".to_owned()];
        let filter = wire::Filter { devices: bad(), ..Default::default() };
        assert_eq!(field_at_fault(filtered(filter)), "subscribe.filter.devices");
        let filter = wire::Filter { metrics: bad(), ..Default::default() };
        assert_eq!(field_at_fault(filtered(filter)), "subscribe.filter.metrics");
        let filter = wire::Filter { metrics: vec!["level".into(); FILTER_NAMES_MAX + 1], ..Default::default() };
        assert_eq!(field_at_fault(filtered(filter)), "subscribe.filter.metrics");
        for kind in [0, 99] {
            let filter = wire::Filter { kinds: vec![1, kind], ..Default::default() };
            assert_eq!(field_at_fault(filtered(filter)), "subscribe.filter.kinds");
        }
        let list = wire::ListDevices { site: "plant".into(), after: "a\u{7}".into(), limit: 1, tag: String::new() };
        let listed = asked(1, Some(wire::client_frame::Request::ListDevices(list)));
        assert_eq!(listed.request.unwrap_err().field, "list_devices.after");
        let start = Some(wire::subscribe::Start::Last(LAST_MAX + 1));
        assert_eq!(field_at_fault(wire::Subscribe { start, ..good.clone() }), "subscribe.last");
        let conflate_ms = Some(u32::MAX);
        assert_eq!(field_at_fault(wire::Subscribe { conflate_ms, ..good }), "subscribe.conflate_ms");
    }

    #[test]
    fn a_request_without_number_or_of_an_unknown_kind_is_an_error_and_not_a_bad_frame() {
        let connect = wire::Connect { token: "t".into(), client: "c\n".into() };
        let request = Some(wire::client_frame::Request::Connect(connect));
        assert_eq!(asked(0, request.clone()).request.unwrap_err().field, "id");
        assert_eq!(asked(7, None).request.unwrap_err().field, "request");
        let expected = Request::Connect { token: "t".into(), client: "c".into() };
        assert_eq!(asked(7, request).request.unwrap(), expected);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(decode(Encoding::Protobuf, bytes.into()));
        }

        #[test]
        fn no_damage_to_a_good_frame_makes_the_reader_panic(flip in 0_usize..400, len in 0_usize..100) {
            let (devices, kinds) = (vec!["pump".into(), "fan".into()], vec![1, 2]);
            let filter = Some(wire::Filter { devices, kinds, metrics: vec!["level".into()] });
            let start = Some(wire::subscribe::Start::Since(wire::Position { offset: 9, stamp: 10 }));
            let subscribe = wire::Subscribe { site: "plant".into(), filter, snapshot: true, start, conflate_ms: Some(9) };
            let request = Some(wire::client_frame::Request::Subscribe(subscribe));
            let mut bytes = wire::ClientFrame { id: 1, request }.encode_to_vec();
            let bit = flip % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes.truncate(bytes.len().saturating_sub(len));
            drop(decode(Encoding::Protobuf, bytes.into()));
        }
    }
}
