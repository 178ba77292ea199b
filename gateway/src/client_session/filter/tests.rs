//! What passes, by device, kind, metric and token.

use lockgate_proto::ids::{AgentName, Site, Tenant};
use lockgate_proto::time::UnixMicros;
use lockgate_token::Identity;

use super::*;
use crate::client_session::samples::told;
use crate::room::tests::device_entry;

fn device(name: &str) -> DeviceName {
    DeviceName::new(name).unwrap()
}

fn metrics<const COUNT: usize>(names: [&str; COUNT]) -> Filter {
    Filter::default().of_metrics(names.map(|name| MetricName::new(name).unwrap()))
}

fn about_none(kind: EntryKind) -> LoggedEntry {
    LoggedEntry { device: None, kind, ..device_entry(1, 1, "pump") }
}

fn ann(scope: &str) -> (Arc<Grant>, RoomId) {
    let tenant = Tenant::new("home").unwrap();
    let room = RoomId { tenant: tenant.clone(), site: Site::new("plant").unwrap() };
    let identity = Identity::User { name: "ann".into(), scopes: vec![scope.parse().unwrap()] };
    let (issued_at, expires_at) = (UnixMicros(0), UnixMicros(1));
    (Arc::new(Grant { tenant, identity, id: "1".into(), issued_at, expires_at }), room)
}

#[test]
fn named_devices_pass_and_gaps_pass_always() {
    let filter = Filter::of_devices([device("pump")]);
    assert!(filter.wants(&device_entry(1, 1, "pump")));
    assert!(!filter.wants(&device_entry(1, 1, "fan")));
    assert!(filter.wants(&about_none(EntryKind::Gap)));
    assert!(!filter.wants(&about_none(EntryKind::Attendance)));
    let all = Filter::of_devices([]);
    assert!(all.wants(&device_entry(1, 1, "fan")) && all.wants(&about_none(EntryKind::Attendance)));
    assert!(!all.leaves_out());
}

#[test]
fn named_kinds_pass_and_no_others() {
    let filter = Filter::of_devices([device("pump")]).of_kinds([EntryKind::Presence, EntryKind::Attendance]);
    let of = |name, kind| LoggedEntry { kind, ..device_entry(1, 1, name) };
    assert!(filter.leaves_out());
    assert!(filter.wants(&of("pump", EntryKind::Presence)) && !filter.wants(&of("fan", EntryKind::Presence)));
    assert!(!filter.wants(&of("pump", EntryKind::Telemetry)) && !filter.wants(&about_none(EntryKind::Gap)));
    assert!(filter.wants(&about_none(EntryKind::Attendance)), "it was asked for by name");
    let none_named = Filter::default().of_kinds([]);
    assert!(EntryKind::ALL.into_iter().all(|kind| none_named.wants(&about_none(kind))) && !none_named.leaves_out());
}

#[test]
fn nobody_sees_more_than_the_token_allows() {
    let (grant, room) = ann("telemetry:read:plant/pump-*");
    let all = Filter::of_devices([]).within(&grant, &room);
    assert!(all.wants(&device_entry(1, 1, "pump-1")));
    assert!(!all.wants(&device_entry(1, 1, "fan")));
    assert_eq!(all.forbidden(), None);
    let named = Filter::of_devices([device("fan"), device("pump-1")]).within(&grant, &room);
    assert_eq!(named.forbidden(), Some(&device("fan")));
    let attendance = Filter::default().of_kinds([EntryKind::Attendance]).within(&grant, &room);
    assert!(!attendance.wants(&about_none(EntryKind::Attendance)), "asking by name allows nothing");
}

#[test]
fn of_telemetry_only_the_named_metrics_pass() {
    let filter = metrics(["level", "flow"]);
    assert!(filter.leaves_out() && filter.cuts());
    let both = told(1, "pump", &["flow", "level"], 1, false);
    assert_eq!(filter.cut(&both), Some(both), "the same bytes");
    let more = told(2, "pump", &["level", "rpm", "flow"], 2, false);
    assert_eq!(filter.cut(&more), Some(told(2, "pump", &["level", "flow"], 2, false)));
    assert_eq!(filter.cut(&told(3, "pump", &["rpm"], 3, false)), None);
    for other in [about_none(EntryKind::Gap), LoggedEntry { kind: EntryKind::Presence, ..device_entry(1, 4, "pump") }] {
        assert_eq!(filter.cut(&other), Some(other), "it has no metrics");
    }
    let pump = metrics(["level"]).of_kinds([EntryKind::Gap]);
    assert_eq!(pump.cut(&told(5, "pump", &["level"], 5, false)), None);
    let later = device_entry(1, 6, "pump");
    assert_eq!(filter.cut(&later), Some(later), "what can't be read is passed on as it is");
}

#[test]
fn shadows_have_what_passes_and_go_where_nothing_is_left() {
    let shadow = |online| DeviceShadow {
        device: device("pump"),
        agent: AgentName::new("pi").unwrap(),
        online,
        stale: false,
        last_seen: None,
        metrics: Vec::new(),
    };
    let stays = |filter: &Filter, online| filter.cut_shadow(shadow(online)).is_some();
    assert!(stays(&Filter::default(), None) && stays(&Filter::of_devices([device("pump")]), None));
    assert!(stays(&metrics(["level"]), Some(true)) && !stays(&metrics(["level"]), None));
    let telemetry = Filter::default().of_kinds([EntryKind::Telemetry]);
    assert!(!stays(&telemetry, Some(true)), "whether it is there was not asked for");
    let metric = |name| MetricName::new(name).unwrap();
    assert!(metrics(["level"]).wants_metric(&metric("level")) && !metrics(["level"]).wants_metric(&metric("flow")));
    assert!(!Filter::default().of_kinds([EntryKind::Presence]).wants_metric(&metric("level")));
}
