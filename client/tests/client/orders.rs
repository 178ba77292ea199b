//! An order that was sent is one order, whatever its connections do, and the wait for it ends.

use std::time::Duration;

use crate::gateway::{SITE, Script, Session};
use lockgate_client::{
    Client, ClientError, CommandsWanted, Order, OrderEvent, OrderStatus, Sent, Target, TokenSource, Until,
};
use lockgate_proto::command::{Command, CommandId, CommandUpdate, Fields, Outcome, Priority, Standing, State};
use lockgate_proto::convert::{command_to_wire, command_update_to_wire};
use lockgate_proto::ids::{CommandName, DeviceName, Site, UserName};
use lockgate_proto::time::UnixMicros;
use lockgate_proto::wire;
use lockgate_proto::wire::client_frame::Request;
use lockgate_proto::wire::send_command;
use lockgate_proto::wire::server_frame::Body;

/// What the gateway's clock says; this machine's says otherwise.
const GATEWAY_TIME: i64 = 1_000_000_000_000;

fn token() -> TokenSource {
    TokenSource::Text("secret".to_owned())
}

fn order() -> Order {
    let (site, device) = (Site::new(SITE).unwrap(), DeviceName::new("pump-1").unwrap());
    Order::new(site, device, CommandName::new("stop").unwrap(), Duration::from_secs(60))
}

fn update(state: State) -> CommandUpdate {
    CommandUpdate {
        id: CommandId::new("c").unwrap(),
        device: DeviceName::new("pump-1").unwrap(),
        name: CommandName::new("stop").unwrap(),
        standing: Standing::by_agent(state),
        progress: None,
        at: UnixMicros(5),
    }
}

fn status(state: State) -> Body {
    let now = Some(command_update_to_wire(&update(state)));
    Body::Command(wire::CommandStatus { site: SITE.to_owned(), now, ..wire::CommandStatus::default() })
}

async fn let_in(script: &Script) -> Session {
    let (mut session, id, _) = script.accept().await;
    let connected = wire::Connected { server_time_us: GATEWAY_TIME, ..wire::Connected::default() };
    session.say(id, Body::Connected(connected)).await;
    session
}

async fn asked(session: &mut Session) -> (u32, wire::SendCommand) {
    match session.request().await {
        (id, Request::SendCommand(send)) => (id, send),
        other => panic!("an order was expected: {other:?}"),
    }
}

/// The words of all that comes, to the end.
async fn told(sent: &mut Sent) -> Result<Vec<String>, ClientError> {
    let mut told = Vec::new();
    while let Some(event) = sent.next().await? {
        told.push(match event {
            OrderEvent::Status(OrderStatus::Command(status)) => status.now.standing.state.as_str().to_owned(),
            OrderEvent::Status(OrderStatus::Group(group)) => format!("{} of {} over", group.over, group.members),
            OrderEvent::Disconnected { .. } => "disconnected".to_owned(),
            OrderEvent::Reconnected => "reconnected".to_owned(),
        });
    }
    Ok(told)
}

#[tokio::test]
async fn an_order_that_is_cut_off_is_the_very_same_elsewhere_and_ends_with_its_outcome() {
    let (script, other) = (Script::new().await, Script::new().await);
    let serving = async {
        let mut session = let_in(&script).await;
        let (_, first) = asked(&mut session).await;
        // The answer gets lost, with the gateway.
        drop(session);
        let gone = script.hang_up();
        let going_on = async {
            let mut session = let_in(&other).await;
            let (id, second) = asked(&mut session).await;
            session.say(id, status(State::Queued)).await;
            session.say(0, status(State::Executing)).await;
            drop(session);
            let mut session = let_in(&other).await;
            let (id, third) = asked(&mut session).await;
            session.say(id, status(State::Ended(Outcome::Succeeded(Fields::default())))).await;
            (session, [second, third])
        };
        tokio::select! { biased; going_on = going_on => (first, going_on), () = gone => unreachable!("it never ends") }
    };
    let sending = async {
        let client = Client::connect(script.options_with(&other)).await.unwrap();
        let mut sent = client.send(order());
        (told(&mut sent).await.unwrap(), sent.id().clone(), sent.deadline())
    };
    let ((first, (_session, [second, third])), (mut told, id, deadline)) = tokio::join!(serving, sending);
    // How many attempts it takes is not the matter here.
    told.dedup();
    let cut = ["disconnected", "reconnected"];
    assert_eq!(told, [&cut[..], &["queued", "executing"], &cut, &["succeeded"]].concat());
    assert_eq!((first.id.as_str(), first.deadline_us), (id.as_str(), deadline.0));
    let ttl = deadline.0 - GATEWAY_TIME;
    assert!((60_000_000..600_000_000).contains(&ttl), "the gateway's clock counts: {ttl}");
    assert!(first.follow && !first.answered && matches!(first.target, Some(send_command::Target::Device(_))));
    assert_eq!(second, first);
    assert_eq!(third, wire::SendCommand { answered: true, ..first });
}

#[tokio::test]
async fn a_group_is_told_as_a_whole_until_all_of_it_is_over() {
    let script = Script::new().await;
    let group = |over| {
        let counts = vec![wire::StateCount { state: "succeeded".to_owned(), commands: over }];
        Body::Group(wire::GroupStatus {
            site: SITE.to_owned(),
            id: "g".to_owned(),
            members: 2,
            ended: over,
            over,
            counts,
        })
    };
    let serving = async {
        let mut session = let_in(&script).await;
        let (id, send) = asked(&mut session).await;
        session.say(id, group(0)).await;
        session.say(0, group(1)).await;
        session.say(0, group(2)).await;
        (session, send)
    };
    let sending = async {
        let client = Client::connect(script.options(token())).await.unwrap();
        let until = Until::At(UnixMicros(GATEWAY_TIME + 7));
        let id = CommandId::new("g").ok();
        let mut sent = client.send(Order { target: Target::All, until, id, priority: Priority::High, ..order() });
        told(&mut sent).await.unwrap()
    };
    let ((_session, send), told) = tokio::join!(serving, sending);
    assert_eq!(told, ["0 of 2 over", "1 of 2 over", "2 of 2 over"]);
    assert!(matches!(send.target, Some(send_command::Target::All(_))));
    assert_eq!((send.id.as_str(), send.deadline_us, send.priority), ("g", GATEWAY_TIME + 7, 3));
}

#[tokio::test]
async fn a_refusal_is_final_and_no_second_connection_is_made() {
    let script = Script::new().await;
    let serving = async {
        let mut session = let_in(&script).await;
        let (id, _) = asked(&mut session).await;
        let code = wire::ErrorCode::Forbidden.into();
        let error = wire::Error {
            code,
            message: "no".to_owned(),
            field: "send_command.device".to_owned(),
            ..wire::Error::default()
        };
        session.say(id, Body::Error(error)).await;
        session
    };
    let sending = async {
        let client = Client::connect(script.options(token())).await.unwrap();
        client.send(order()).next().await
    };
    let (_session, refused) = tokio::join!(serving, sending);
    assert!(refused.unwrap_err().is_unauthorized());
}

#[tokio::test]
async fn nobody_waits_for_ever_where_no_gateway_comes_back() {
    let script = Script::new().await;
    let serving = async {
        let mut session = let_in(&script).await;
        let (id, _) = asked(&mut session).await;
        session.say(id, status(State::Dispatched)).await;
        session
    };
    let client = async {
        let client = Client::connect(script.options(token())).await.unwrap();
        let mut sent = client.send(order());
        let first = sent.next().await.unwrap();
        assert!(matches!(first, Some(OrderEvent::Status(_))), "{first:?}");
        sent
    };
    let (session, mut sent) = tokio::join!(serving, client);
    drop(session);
    // From here on nobody listens; without a peer, time passes by itself.
    drop(script);
    tokio::time::pause();
    let end = tokio::time::timeout(Duration::from_secs(600), told(&mut sent)).await.expect("the wait ends");
    let error = end.unwrap_err();
    assert!(matches!(error, ClientError::NotTold { answered: true, .. }), "{error}");
    assert!(error.to_string().contains("`lockgate commands` tells"), "{error}");
}

#[tokio::test]
async fn commands_come_page_by_page_up_to_as_many_as_are_wanted() {
    let script = Script::new().await;
    let page = |count: usize, next: &str| {
        let command = Command {
            id: CommandId::new("c").unwrap(),
            device: DeviceName::new("pump-1").unwrap(),
            name: CommandName::new("stop").unwrap(),
            arguments: Fields::default(),
            idempotent: false,
            priority: Priority::Normal,
            deadline: UnixMicros(9),
            sender: UserName::new("ann").unwrap(),
        };
        let status = wire::CommandStatus {
            now: Some(command_update_to_wire(&update(State::Queued))),
            command: Some(command_to_wire(&command)),
            accepted_at_us: 4,
            ..wire::CommandStatus::default()
        };
        Body::CommandList(wire::CommandList {
            site: SITE.to_owned(),
            commands: vec![status; count],
            next: next.to_owned(),
        })
    };
    let serving = async {
        let mut session = let_in(&script).await;
        let mut asked = Vec::new();
        for answer in [page(100, "n1"), page(0, "n2"), page(20, "n3"), page(0, "x"), page(0, "x")] {
            let (id, request) = session.request().await;
            let Request::ListCommands(list) = request else { panic!("a list was expected: {request:?}") };
            asked.push((list.after, list.limit, list.state));
            session.say(id, answer).await;
        }
        asked
    };
    let asking = async {
        let mut client = Client::connect(script.options(token())).await.unwrap();
        let all = CommandsWanted::all(Site::new(SITE).unwrap());
        let some = CommandsWanted { state: Some("queued".to_owned()), count_max: 120, ..all.clone() };
        (client.commands(&some).await, client.commands(&all).await)
    };
    let (asked, (some, turning)) = tokio::join!(serving, asking);
    let some = some.unwrap();
    assert_eq!(some.len(), 120);
    assert_eq!(some[0].ordered.as_ref().map(|(command, at)| (command.sender.as_str(), at.0)), Some(("ann", 4)));
    let queued = |after: &str, limit| (after.to_owned(), limit, "queued".to_owned());
    assert_eq!(asked[..3], [queued("", 100), queued("n1", 20), queued("n2", 20)]);
    assert!(matches!(turning, Err(ClientError::WrongAnswer)), "a list that turns in a circle has no end");
}

#[tokio::test]
async fn a_command_that_is_to_be_taken_back_says_whether_its_agent_must_be_asked() {
    let script = Script::new().await;
    let serving = async {
        let mut session = let_in(&script).await;
        let (id, request) = session.request().await;
        let Request::CancelCommand(cancel) = request else { panic!("{request:?}") };
        let Body::Command(asked) = status(State::Dispatched) else { unreachable!() };
        session.say(id, Body::Command(wire::CommandStatus { cancel_asked: true, ..asked })).await;
        cancel
    };
    let asking = async {
        let mut client = Client::connect(script.options(token())).await.unwrap();
        client.cancel(&Site::new(SITE).unwrap(), &CommandId::new("c").unwrap()).await.unwrap()
    };
    let (cancel, status) = tokio::join!(serving, asking);
    assert_eq!((cancel.site.as_str(), cancel.id.as_str()), (SITE, "c"));
    let OrderStatus::Command(status) = status else { panic!("{status:?}") };
    assert!(status.cancel_asked && !OrderStatus::Command(status).ends_the_wait());
}
