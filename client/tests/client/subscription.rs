//! A subscription misses nothing and gives nothing twice, whatever its connections do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::gateway::{SITE, Script, Session, entry, from_here, position};
use lockgate_client::{Client, Event, NotRecovered, Start, SubscribeOptions, Subscription, TokenSource};
use lockgate_proto::entry::EntryKind;
use lockgate_proto::ids::{DeviceName, MetricName, Site};
use lockgate_proto::link::close::CloseCode;
use lockgate_proto::position::Position;
use lockgate_proto::wire;
use lockgate_proto::wire::server_frame::Body;
use lockgate_proto::wire::subscribe::Start as WireStart;

fn token() -> TokenSource {
    TokenSource::Text("secret".to_owned())
}

fn since_start() -> SubscribeOptions {
    let start = Start::Since(Position::START);
    SubscribeOptions { start, ..SubscribeOptions::live(Site::new(SITE).unwrap()) }
}

async fn subscribe(script: &Script, token: TokenSource, options: SubscribeOptions) -> Subscription {
    let client = Client::connect(script.options(token)).await.unwrap();
    client.subscribe(options).await.unwrap()
}

fn since(asked: &wire::Subscribe) -> Option<wire::Position> {
    match asked.start {
        Some(WireStart::Since(position)) => Some(position),
        _ => None,
    }
}

/// Offsets of entries, and the other events' names, until the offset has come.
async fn told_until(subscription: &mut Subscription, last: u64) -> Vec<String> {
    let mut told = Vec::new();
    loop {
        let word = match subscription.next().await.unwrap() {
            Event::Entry(entry) => entry.header.position.offset.0.to_string(),
            Event::Snapshot(snapshot) => format!("snapshot of {}", snapshot.devices.len()),
            Event::NotRecovered { reason, .. } => format!("not recovered: {}", reason.as_str()),
            Event::Conflated { after, through, .. } => format!("in short {}-{}", after.offset.0, through.offset.0),
            Event::Lagged { after, through } => format!("lagged {} to {}", after.offset.0, through.offset.0),
            Event::Fetching { after, through } => format!("fetching {} to {}", after.offset.0, through.offset.0),
            Event::Degraded { .. } => "degraded".to_owned(),
            Event::Restored => "restored".to_owned(),
            Event::Disconnected { .. } => "disconnected".to_owned(),
            Event::Reconnected { position } => format!("reconnected after {}", position.offset.0),
            Event::CaughtUp { position } => format!("caught up at {}", position.offset.0),
        };
        let is_last = word == last.to_string();
        told.push(word);
        if is_last {
            return told;
        }
    }
}

#[tokio::test]
async fn a_reader_that_is_cut_off_goes_on_where_it_stood() {
    let script = Script::new().await;
    let serving = async {
        let (mut session, asked) = script.subscribed(from_here(1, 0)).await;
        assert_eq!(since(&asked), Some(position(1, 0)));
        session.deliver(vec![entry(1, 1), entry(1, 2)]).await;
        session.deliver(vec![entry(1, 3)]).await;
        drop(session);
        // Not even let in.
        drop(script.accept().await);
        let (mut session, asked) = script.subscribed(from_here(1, 3)).await;
        assert_eq!(since(&asked), Some(position(1, 3)));
        session.deliver(vec![entry(1, 2), entry(1, 3), entry(1, 4)]).await;
        session
    };
    let reading = async {
        let mut subscription = subscribe(&script, token(), since_start()).await;
        told_until(&mut subscription, 4).await
    };
    let (_session, told) = tokio::join!(serving, reading);
    assert_eq!(told, ["1", "2", "3", "disconnected", "disconnected", "reconnected after 3", "4"]);
}

#[tokio::test]
async fn a_log_that_went_back_is_told_with_a_fresh_snapshot() {
    let script = Script::new().await;
    let shadow =
        wire::DeviceShadow { device: "pump-1".to_owned(), agent: "pi".to_owned(), ..wire::DeviceShadow::default() };
    let lost = wire::Subscribed {
        recovered: false,
        reason: wire::NotRecovered::Diverged.into(),
        snapshot: vec![shadow],
        ..from_here(2, 5)
    };
    let serving = async {
        let (mut session, _) = script.subscribed(from_here(1, 0)).await;
        session.deliver((1..=9).map(|offset| entry(1, offset)).collect()).await;
        drop(session);
        let (mut session, asked) = script.subscribed(lost.clone()).await;
        assert_eq!(since(&asked), Some(position(1, 9)));
        session.deliver(vec![entry(2, 6)]).await;
        // It goes back once more, under a connected client.
        let anew = wire::Subscribed { position: Some(position(3, 1)), ..lost.clone() };
        session.say(0, Body::Resynced(wire::Resynced { subscribed: Some(anew) })).await;
        session.deliver(vec![entry(3, 2)]).await;
        // And again, with more shadows than fit into a message.
        let (position, snapshot) = (Some(position(4, 7)), Vec::new());
        let bare = wire::Subscribed { position, snapshot, snapshot_left_out: true, ..lost.clone() };
        session.say(0, Body::Resynced(wire::Resynced { subscribed: Some(bare) })).await;
        session.deliver(vec![entry(4, 8)]).await;
        session
    };
    let reading = async {
        let mut subscription = subscribe(&script, token(), since_start()).await;
        told_until(&mut subscription, 9).await;
        let told = told_until(&mut subscription, 6).await;
        assert_eq!(subscription.position().unwrap().offset.0, 6);
        (told, told_until(&mut subscription, 2).await, told_until(&mut subscription, 8).await)
    };
    let (_session, (told, anew, bare)) = tokio::join!(serving, reading);
    let lost = format!("not recovered: {}", NotRecovered::Diverged.as_str());
    assert_eq!(told, ["disconnected", "reconnected after 5", &lost, "snapshot of 1", "6"]);
    assert_eq!(anew, [&lost, "snapshot of 1", "2"]);
    assert_eq!(bare, [&lost, "8"], "no snapshot is another thing than one of no devices");
}

#[tokio::test]
async fn a_hole_that_nobody_explained_is_asked_for_again() {
    let script = Script::new().await;
    let serving = async {
        let (mut session, _) = script.subscribed(from_here(1, 0)).await;
        session.deliver(vec![entry(1, 1), entry(1, 3)]).await;
        let (mut session, asked) = script.subscribed(from_here(1, 1)).await;
        assert_eq!(since(&asked), Some(position(1, 1)));
        session.deliver(vec![entry(1, 2), entry(1, 3)]).await;
        session
    };
    let reading = async {
        let mut subscription = subscribe(&script, token(), since_start()).await;
        told_until(&mut subscription, 3).await
    };
    let (_session, told) = tokio::join!(serving, reading);
    assert_eq!(told, ["1", "disconnected", "reconnected after 1", "2", "3"]);
}

#[tokio::test]
async fn what_is_filtered_out_is_no_hole_and_moves_the_position() {
    let script = Script::new().await;
    let filtered = wire::Subscribed { filtered: true, ..from_here(1, 0) };
    let stated = wire::SitePosition { site: SITE.to_owned(), position: Some(position(1, 8)) };
    let serving = async {
        let (mut session, _) = script.subscribed(filtered.clone()).await;
        session.deliver(vec![entry(1, 1), entry(1, 5)]).await;
        session.say(0, Body::Positions(wire::Positions { positions: vec![stated] })).await;
        drop(session);
        let (mut session, asked) = script.subscribed(filtered.clone()).await;
        assert_eq!(since(&asked), Some(position(1, 8)));
        session.deliver(vec![entry(1, 9)]).await;
        session
    };
    let reading = async {
        let mut subscription = subscribe(&script, token(), since_start()).await;
        told_until(&mut subscription, 9).await
    };
    let (_session, told) = tokio::join!(serving, reading);
    assert_eq!(told, ["1", "5", "disconnected", "reconnected after 0", "9"]);
}

#[tokio::test]
async fn what_is_asked_for_is_asked_for_again_after_a_break() {
    let script = Script::new().await;
    let wanted = wire::Filter {
        devices: vec!["pump-1".to_owned()],
        kinds: vec![wire::EntryKind::Presence.into(), wire::EntryKind::Gap.into()],
        metrics: vec!["level".to_owned()],
    };
    let serving = async {
        // A hole is none, even where the gateway does not say that it filters.
        let (mut session, asked) = script.subscribed(from_here(1, 0)).await;
        assert_eq!(asked.filter, Some(wanted.clone()));
        session.deliver(vec![entry(1, 3)]).await;
        drop(session);
        let (mut session, asked) = script.subscribed(from_here(1, 3)).await;
        assert_eq!(asked.filter, Some(wanted.clone()));
        session.deliver(vec![entry(1, 7)]).await;
        session
    };
    let reading = async {
        let options = SubscribeOptions {
            devices: vec![DeviceName::new("pump-1").unwrap()],
            kinds: vec![EntryKind::Presence, EntryKind::Gap],
            metrics: vec![MetricName::new("level").unwrap()],
            ..since_start()
        };
        let mut subscription = subscribe(&script, token(), options).await;
        told_until(&mut subscription, 7).await
    };
    let (_session, told) = tokio::join!(serving, reading);
    assert_eq!(told, ["3", "disconnected", "reconnected after 3", "7"]);
}

#[tokio::test]
async fn what_the_gateway_says_of_itself_is_passed_on() {
    let script = Script::new().await;
    let degraded = |degraded| Body::Degraded(wire::Degraded { degraded, reason: String::new() });
    let lagged = wire::Lagged { site: SITE.to_owned(), after: Some(position(1, 1)), through: Some(position(1, 7)) };
    let serving = async {
        let (mut session, _) = script.subscribed(from_here(1, 0)).await;
        session.deliver(vec![entry(1, 1)]).await;
        session.say(0, degraded(true)).await;
        session.say(0, degraded(false)).await;
        session.say(0, Body::Lagged(lagged)).await;
        session.deliver(vec![entry(1, 8)]).await;
        session
    };
    let reading = async {
        let mut subscription = subscribe(&script, token(), since_start()).await;
        told_until(&mut subscription, 8).await
    };
    let (_session, told) = tokio::join!(serving, reading);
    assert_eq!(told, ["1", "degraded", "restored", "lagged 1 to 7", "8"]);
}

#[tokio::test]
async fn what_was_left_out_is_fetched_in_order_and_each_entry_comes_once() {
    let script = Script::new().await;
    let lagged = wire::Lagged { site: SITE.to_owned(), after: Some(position(1, 1)), through: Some(position(1, 7)) };
    let serving = async {
        let (mut session, _) = script.subscribed(from_here(1, 0)).await;
        session.deliver(vec![entry(1, 1)]).await;
        session.say(0, Body::Lagged(lagged.clone())).await;
        // Sent before the gateway hears that the rest is wanted: it comes again, and in its turn.
        session.deliver(vec![entry(1, 8)]).await;
        let asked = session.subscribed(from_here(1, 1)).await;
        assert_eq!(since(&asked), Some(position(1, 1)));
        session.deliver((2..=9).map(|offset| entry(1, offset)).collect()).await;
        // Even the connection's end in the middle of it leaves out nothing.
        let lagged_again = wire::Lagged { after: Some(position(1, 9)), through: Some(position(1, 11)), ..lagged };
        session.say(0, Body::Lagged(lagged_again)).await;
        drop(session);
        let (mut session, asked) = script.subscribed(from_here(1, 9)).await;
        assert_eq!(since(&asked), Some(position(1, 9)));
        session.deliver((10..=12).map(|offset| entry(1, offset)).collect()).await;
        session
    };
    let reading = async {
        let options = SubscribeOptions { fetch_lagged: true, ..since_start() };
        let mut subscription = subscribe(&script, token(), options).await;
        let mut told = told_until(&mut subscription, 9).await;
        told.extend(told_until(&mut subscription, 12).await);
        told
    };
    let (_session, told) = tokio::join!(serving, reading);
    let mut wanted = vec!["1", "fetching 1 to 7", "2", "3", "4", "5", "6", "7", "8", "9"];
    wanted.extend(["fetching 9 to 11", "disconnected", "reconnected after 9", "10", "11", "12"]);
    assert_eq!(told, wanted);
}

#[tokio::test]
async fn having_caught_up_with_the_log_of_the_beginning_is_told_once() {
    let script = Script::new().await;
    let serving = async {
        let mut session: Session = script.let_in().await;
        let asked = session.subscribed(from_here(1, 2)).await;
        assert!(matches!(asked.start, Some(WireStart::Live(_))));
        // Still of the first subscription: none of the second one's business.
        session.deliver(vec![entry(1, 3)]).await;
        session.subscribed(from_here(1, 0)).await;
        session.deliver((1..=4).map(|offset| entry(1, offset)).collect()).await;
        session
    };
    let reading = async {
        let options = SubscribeOptions { tell_caught_up: true, ..since_start() };
        let mut subscription = subscribe(&script, token(), options).await;
        told_until(&mut subscription, 4).await
    };
    let (_session, told) = tokio::join!(serving, reading);
    assert_eq!(told, ["1", "2", "caught up at 2", "3", "4"]);
}

#[tokio::test]
async fn an_expired_token_ends_a_subscription_unless_there_is_a_new_one() {
    let script = Script::new().await;
    let given = Arc::new(AtomicU32::new(1));
    let renewed = given.clone();
    let renewing = TokenSource::Function(Arc::new(move || Ok(format!("token {}", given.load(Ordering::SeqCst)))));
    let serving = async {
        let (session, _) = script.subscribed(from_here(1, 0)).await;
        renewed.store(2, Ordering::SeqCst);
        session.link.close(CloseCode::Unauthorized).await;
        let (mut session, id, token) = script.accept().await;
        assert_eq!(token, "token 2");
        session.say(id, Body::Connected(wire::Connected::default())).await;
        session.subscribed(from_here(1, 0)).await;
        session.deliver(vec![entry(1, 1)]).await;
        session.link.close(CloseCode::Unauthorized).await;
    };
    let reading = async {
        let mut subscription = subscribe(&script, renewing, since_start()).await;
        let told = told_until(&mut subscription, 1).await;
        (told, subscription.next().await)
    };
    let ((), (told, last)) = tokio::join!(serving, reading);
    assert_eq!(told, ["disconnected", "reconnected after 0", "1"]);
    assert!(last.unwrap_err().is_unauthorized());
}

#[tokio::test]
async fn a_reader_goes_on_at_the_next_gateway_when_its_own_is_lost_or_leaves() {
    let (dead, first, second) = (Script::new().await, Script::new().await, Script::new().await);
    let serving = async {
        let (mut session, asked) = first.subscribed(from_here(1, 0)).await;
        assert_eq!(since(&asked), Some(position(1, 0)));
        session.deliver(vec![entry(1, 1)]).await;
        let go_away =
            wire::GoAwayClient { gateways: vec![second.url.to_string()], reconnect_after_ms: 10, ..Default::default() };
        session.say(0, Body::GoAway(go_away)).await;
        session.link.close(CloseCode::ShuttingDown).await;
        let (mut session, asked) = second.subscribed(from_here(1, 1)).await;
        assert_eq!(since(&asked), Some(position(1, 1)));
        session.deliver(vec![entry(1, 2)]).await;
        drop(session);
        // The preferred one is dead, so that the one behind it has its turn again.
        let (mut session, asked) = first.subscribed(from_here(1, 2)).await;
        assert_eq!(since(&asked), Some(position(1, 2)));
        session.deliver(vec![entry(1, 3)]).await;
        session
    };
    let reading = async {
        let client = Client::connect(dead.options_with(&first)).await.unwrap();
        let mut subscription = client.subscribe(since_start()).await.unwrap();
        let mut told = told_until(&mut subscription, 3).await;
        // The dead one may have been tried in between, once or more.
        told.dedup();
        told
    };
    let both = async { tokio::join!(serving, reading).1 };
    let told = tokio::select! {
        () = dead.hang_up() => Vec::new(),
        told = both => told,
    };
    assert_eq!(told, ["1", "disconnected", "reconnected after 1", "2", "disconnected", "reconnected after 2", "3"]);
}

#[tokio::test]
async fn where_no_gateway_is_there_a_client_says_so_after_one_round() {
    let (dead, other) = (Script::new().await, Script::new().await);
    let options = dead.options_with(&other);
    let connected = tokio::select! {
        () = dead.hang_up() => None,
        () = other.hang_up() => None,
        connected = Client::connect(options) => Some(connected),
    };
    let Some(Err(error)) = connected else { panic!("nobody lets it in") };
    assert!(error.is_disconnected(), "{error}");
}
