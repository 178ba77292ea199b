//! Books of commands: written as they were read, or not at all; followed, found, paged and forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::command::{
    BootId, Command, CommandId, Fields, HandOver, JournalId, JournalMark, Kept, Outcome, Priority, State,
};
use lockgate_proto::convert::decode_entry;
use lockgate_proto::entry::EntryBody;
use lockgate_proto::ids::{AgentName, CommandName, SessionId, UserName};
use lockgate_proto::time::UnixMicros;

use super::agent::{assert_linked, device, log_of, room};
use super::{Keep, World};
use crate::backbone::{
    Backbone, BackboneError, BookRead, BookVersion, BookWrite, BookWritten, CommandFeedItem, CommandNews,
    CommandsWanted, Holder, StateWanted,
};

type Made = Box<dyn World>;

const MINUTE: Duration = Duration::from_secs(60);

fn id(text: &str) -> CommandId {
    CommandId::new(text).unwrap()
}

fn holder(name: &str) -> Holder {
    AgentName::new(name).ok()
}

fn command(text: &str, deadline: UnixMicros) -> Command {
    Command {
        id: id(text),
        device: device("pump"),
        name: CommandName::new("open").unwrap(),
        arguments: Fields::default(),
        idempotent: false,
        priority: Priority::High,
        deadline,
        sender: UserName::new("ann").unwrap(),
    }
}

fn after(now: UnixMicros, span: Duration) -> UnixMicros {
    now.offset_by(i64::try_from(span.as_micros()).unwrap())
}

async fn read(backbone: &Arc<dyn Backbone>, whose: &Holder, ids: &[&str]) -> BookRead {
    let ids: Vec<CommandId> = ids.iter().map(|text| id(text)).collect();
    backbone.book(&room("plant"), whose, &ids).await.unwrap()
}

async fn write(backbone: &Arc<dyn Backbone>, write: &BookWrite) -> BookWritten {
    backbone.write_book(&room("plant"), write).await.unwrap()
}

/// What becomes of a book by `change`, written over what was read.
fn changed(read: &BookRead, whose: &Holder, change: impl FnOnce(&mut BookRead) -> Vec<Kept>) -> BookWrite {
    let mut after = read.clone();
    let moved = change(&mut after);
    let news = moved.iter().map(|kept| CommandNews { holder: whose.clone(), update: Some(kept.update()) }).collect();
    let mark = whose.clone().filter(|_| after.book.mark != read.book.mark).map(|agent| (agent, after.book.mark));
    let commands = moved.into_iter().map(|kept| (whose.clone(), kept)).collect();
    BookWrite { at: read.now, versions: read.versions.clone(), mark, commands, news }
}

fn accepting(read: &BookRead, whose: &Holder, new: &[Command]) -> BookWrite {
    changed(read, whose, |read| {
        for command in new {
            read.book.accept(read.now, command.clone(), whose.is_some()).unwrap();
        }
        new.iter().map(|command| read.book.commands[&command.id].clone()).collect()
    })
}

/// Accepts commands of these ids into a book, a minute from now their deadline.
async fn accept(backbone: &Arc<dyn Backbone>, whose: &Holder, ids: &[&str]) {
    let before = read(backbone, whose, ids).await;
    let new: Vec<Command> = ids.iter().map(|text| command(text, after(before.now, MINUTE))).collect();
    assert_eq!(write(backbone, &accepting(&before, whose, &new)).await, BookWritten::Done);
}

/// Ends an open command of a book as expired.
async fn end(backbone: &Arc<dyn Backbone>, whose: &Holder, text: &str) {
    let before = read(backbone, whose, &[text]).await;
    let ended = changed(&before, whose, |read| {
        read.book.cancel(read.now, &id(text));
        vec![read.book.commands[&id(text)].clone()]
    });
    assert_eq!(write(backbone, &ended).await, BookWritten::Done);
}

fn ids(read: &BookRead) -> Vec<String> {
    read.book.commands.keys().map(ToString::to_string).collect()
}

/// Where each command came to stand, by the room's log.
async fn told(backbone: &Arc<dyn Backbone>) -> Vec<(String, &'static str)> {
    let log = log_of(backbone, &room("plant")).await;
    assert_linked(&log);
    let update = |body| match body {
        EntryBody::Command(update) => Some((update.id.to_string(), update.standing.state.as_str())),
        _ => None,
    };
    log.iter().filter_map(|entry| update(decode_entry(entry.bytes.clone()).unwrap().body)).collect()
}

pub(crate) async fn a_book_is_written_only_as_it_was_read<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let mut world = make(Keep::default()).await;
    let (backbone, pi) = (world.backbone(), holder("pi"));
    let empty = read(&backbone, &pi, &["a"]).await;
    assert_eq!(empty.versions, BTreeMap::from([(pi.clone(), BookVersion(0))]));
    assert!(empty.book.commands.is_empty() && empty.elsewhere.is_empty());
    accept(&backbone, &pi, &["a"]).await;
    let second = accepting(&empty, &pi, &[command("b", after(empty.now, MINUTE))]);
    assert_eq!(write(&backbone, &second).await, BookWritten::Changed);
    let now = read(&backbone, &pi, &["b"]).await;
    assert_eq!(ids(&now), ["a"], "nothing of what was refused is there");
    assert_ne!(now.versions[&pi], BookVersion(0));
    assert_eq!(told(&backbone).await, [("a".to_owned(), "queued")]);
    // The mark counts as well: who read before a Hello can't write after it.
    let hello = changed(&now, &pi, |read| {
        let journal = JournalMark { id: JournalId(7), boot: BootId(1), length: 3, forgotten: 0 };
        read.book.hello(read.now, SessionId(9), journal);
        Vec::new()
    });
    assert_eq!(write(&backbone, &hello).await, BookWritten::Done);
    assert_eq!(write(&backbone, &hello).await, BookWritten::Changed, "it has been written since");
    let over = accepting(&now, &pi, &[command("b", after(now.now, MINUTE))]);
    assert_eq!(write(&backbone, &over).await, BookWritten::Changed);
    world.crash().await;
    let backbone = world.backbone();
    let mark = read(&backbone, &pi, &[]).await.book.mark;
    assert_eq!(Some(mark), hello.mark.map(|(_, mark)| mark));
    assert_eq!(told(&backbone).await.len(), 1);
}

pub(crate) async fn a_command_comes_back_as_it_was_stored<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let mut world = make(Keep::default()).await;
    let (backbone, pi) = (world.backbone(), holder("pi"));
    accept(&backbone, &pi, &["a", "b", "group/pump"]).await;
    let before = read(&backbone, &pi, &[]).await;
    let (session, heard, have) = (SessionId(9), 0, BTreeSet::new());
    let handed = changed(&before, &pi, |read| {
        let journal = JournalMark { id: JournalId(7), boot: BootId(u64::MAX), length: 0, forgotten: 0 };
        read.book.hello(read.now, session, journal);
        read.book.hand_over(read.now, &HandOver { session, heard, have, max: 9 }).unwrap();
        read.book.cancel(read.now, &id("a"));
        read.book.commands.values().cloned().collect()
    });
    assert_eq!(write(&backbone, &handed).await, BookWritten::Done);
    world.crash().await;
    let backbone = world.backbone();
    let now = read(&backbone, &pi, &[]).await;
    let expected: Vec<&Kept> = handed.commands.iter().map(|(_, kept)| kept).collect();
    assert_eq!(now.book.commands.values().collect::<Vec<_>>(), expected);
    assert!(now.book.commands[&id("a")].cancel);
    for kept in expected {
        assert_eq!(backbone.command(&room("plant"), &kept.command.id).await.unwrap().as_ref(), Some(kept));
    }
    assert_eq!(backbone.command(&room("plant"), &id("c")).await, Ok(None));
    assert_eq!(backbone.command(&room("other"), &id("a")).await, Ok(None));
    assert!(backbone.book(&room("other"), &pi, &[id("a")]).await.unwrap().book.commands.is_empty());
}

pub(crate) async fn a_book_holds_what_is_open_and_what_is_asked_for<F: Future<Output = Made>>(
    make: impl Fn(Keep) -> F,
) {
    let world = make(Keep::default()).await;
    let (backbone, pi, hub) = (world.backbone(), holder("pi"), holder("hub"));
    accept(&backbone, &pi, &["a", "b"]).await;
    accept(&backbone, &hub, &["c"]).await;
    accept(&backbone, &None, &["d"]).await;
    end(&backbone, &pi, "b").await;
    assert_eq!(ids(&read(&backbone, &pi, &[]).await), ["a"]);
    assert_eq!(ids(&read(&backbone, &pi, &["b"]).await), ["a", "b"]);
    let all = read(&backbone, &pi, &["a", "b", "c", "d", "e"]).await;
    assert_eq!(ids(&all), ["a", "b", "c", "d"]);
    assert_eq!(all.elsewhere, BTreeMap::from([(id("c"), hub.clone()), (id("d"), None)]));
    assert_eq!(all.versions.keys().collect::<Vec<_>>(), [&None, &hub, &pi]);
    assert_eq!(all.versions[&hub], read(&backbone, &hub, &[]).await.versions[&hub]);
}

pub(crate) async fn one_id_is_one_command_in_whatever_book<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let world = make(Keep::default()).await;
    let (backbone, pi, hub) = (world.backbone(), holder("pi"), holder("hub"));
    // Both gateways find no such command, and write to different books.
    let (first, second) = (read(&backbone, &pi, &["a"]).await, read(&backbone, &hub, &["a"]).await);
    let deadline = after(first.now, MINUTE);
    assert_eq!(write(&backbone, &accepting(&first, &pi, &[command("a", deadline)])).await, BookWritten::Done);
    assert_eq!(write(&backbone, &accepting(&second, &hub, &[command("a", deadline)])).await, BookWritten::Changed);
    let again = read(&backbone, &hub, &["a"]).await;
    assert_eq!(again.elsewhere, BTreeMap::from([(id("a"), pi)]));
    assert_eq!(told(&backbone).await.len(), 1);
}

pub(crate) async fn a_command_goes_over_to_another_book_in_one_write<F: Future<Output = Made>>(
    make: impl Fn(Keep) -> F,
) {
    let world = make(Keep::default()).await;
    let (backbone, pi) = (world.backbone(), holder("pi"));
    accept(&backbone, &None, &["a", "b"]).await;
    let claim = |before: &BookRead| {
        changed(before, &pi, |read| {
            read.book.announced(read.now, &id("a")).unwrap();
            vec![read.book.commands[&id("a")].clone()]
        })
    };
    let stale = claim(&read(&backbone, &pi, &["a"]).await);
    accept(&backbone, &None, &["c"]).await;
    assert_eq!(write(&backbone, &stale).await, BookWritten::Changed, "the book that it leaves has changed");
    assert_eq!(write(&backbone, &claim(&read(&backbone, &pi, &["a"]).await)).await, BookWritten::Done);
    assert_eq!(ids(&read(&backbone, &None, &[]).await), ["b", "c"]);
    let now = read(&backbone, &pi, &[]).await;
    assert_eq!((ids(&now), &now.book.commands[&id("a")].standing.state), (vec!["a".to_owned()], &State::Queued));
    assert_eq!(told(&backbone).await.last(), Some(&("a".to_owned(), "queued")));
}

pub(crate) async fn gateways_that_write_to_one_book_lose_nothing<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let world = make(Keep::default()).await;
    let (backbone, pi) = (world.backbone(), holder("pi"));
    let mut gateways = tokio::task::JoinSet::new();
    for gateway in 0..4 {
        let (backbone, pi) = (Arc::clone(&backbone), pi.clone());
        gateways.spawn(async move {
            for round in 0..5 {
                let text = format!("{gateway}-{round}");
                loop {
                    let before = read(&backbone, &pi, &[&text]).await;
                    let new = [command(&text, after(before.now, MINUTE))];
                    if write(&backbone, &accepting(&before, &pi, &new)).await == BookWritten::Done {
                        break;
                    }
                }
            }
        });
    }
    gateways.join_all().await;
    assert_eq!(read(&backbone, &pi, &[]).await.book.commands.len(), 20);
    let told: BTreeSet<String> = told(&backbone).await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(told.len(), 20);
}

pub(crate) async fn who_follows_a_rooms_commands_hears_what_was_stored<F: Future<Output = Made>>(
    make: impl Fn(Keep) -> F,
) {
    let world = make(Keep::default()).await;
    let (backbone, pi) = (world.backbone(), holder("pi"));
    let mut feed = backbone.command_feed(&room("plant")).await.unwrap();
    let mut other = backbone.command_feed(&room("other")).await.unwrap();
    accept(&backbone, &pi, &["a", "b"]).await;
    let before = read(&backbone, &pi, &[]).await;
    let wish = BookWrite {
        at: before.now,
        versions: before.versions,
        mark: None,
        commands: Vec::new(),
        news: vec![CommandNews { holder: pi.clone(), update: None }],
    };
    assert_eq!(write(&backbone, &wish).await, BookWritten::Done);
    let mut heard = Vec::new();
    while heard.len() < 3 {
        match feed.next().await {
            CommandFeedItem::News(news) => heard.extend(news.iter().cloned()),
            item @ (CommandFeedItem::Lagged | CommandFeedItem::Closed) => panic!("{item:?} after {heard:?}"),
        }
    }
    let kept = |text: &str| before.book.commands[&id(text)].update();
    let expected = [Some(kept("a")), Some(kept("b")), None];
    assert_eq!(heard, expected.map(|update| CommandNews { holder: pi.clone(), update }));
    assert_eq!(told(&backbone).await.len(), 2, "a wish is no entry");
    // Of another room nothing came: the next thing that does is its own.
    let elsewhere = backbone.book(&room("other"), &None, &[]).await.unwrap();
    let own = accepting(&elsewhere, &None, &[command("z", after(elsewhere.now, MINUTE))]);
    assert_eq!(backbone.write_book(&room("other"), &own).await, Ok(BookWritten::Done));
    let CommandFeedItem::News(news) = other.next().await else { panic!("nothing came") };
    assert_eq!(news[..], own.news);
}

pub(crate) async fn overdue_books_are_found_until_their_waits_have_ended<F: Future<Output = Made>>(
    make: impl Fn(Keep) -> F,
) {
    let mut world = make(Keep::default()).await;
    let (backbone, pi) = (world.backbone(), holder("pi"));
    accept(&backbone, &None, &["later"]).await;
    let before = read(&backbone, &pi, &[]).await;
    let soon = after(before.now, Duration::from_millis(300));
    let new = [command("soon", soon), command("late", after(before.now, MINUTE))];
    assert_eq!(write(&backbone, &accepting(&before, &pi, &new)).await, BookWritten::Done);
    let mut looks = 0;
    while read(&backbone, &pi, &[]).await.now < soon {
        assert!(looks < 1_000, "time does not pass");
        looks += 1;
        world.pass(Duration::from_millis(50)).await;
    }
    assert_eq!(backbone.overdue(9).await.unwrap(), [(room("plant"), pi.clone())]);
    assert!(backbone.overdue(0).await.unwrap().is_empty());
    let before = read(&backbone, &pi, &[]).await;
    let passed = changed(&before, &pi, |read| {
        let updates = read.book.pass_time(read.now);
        updates.iter().map(|update| read.book.commands[&update.id].clone()).collect()
    });
    assert_eq!(passed.commands.len(), 1);
    assert_eq!(write(&backbone, &passed).await, BookWritten::Done);
    assert!(backbone.overdue(9).await.unwrap().is_empty());
    assert_eq!(ids(&read(&backbone, &pi, &[]).await), ["late"]);
    assert_eq!(told(&backbone).await.last(), Some(&("soon".to_owned(), "expired")));
}

pub(crate) async fn the_history_of_commands_is_paged_and_stays_in_place<F: Future<Output = Made>>(
    make: impl Fn(Keep) -> F,
) {
    let mut world = make(Keep::default()).await;
    let (backbone, pi) = (world.backbone(), holder("pi"));
    let mut all = Vec::new();
    for group in ["a", "b", "c"] {
        // Those of one write are accepted at the same instant.
        let members = [format!("{group}/pump"), format!("{group}/valve"), format!("{group}0")];
        accept(&backbone, &pi, &members.each_ref().map(String::as_str)).await;
        all.extend(members);
        world.pass(Duration::from_millis(5)).await;
    }
    all.reverse();
    end(&backbone, &pi, "b/pump").await;
    let page = async |wanted: &CommandsWanted| backbone.commands(&room("plant"), wanted).await.unwrap();
    let names = |commands: &[Kept]| commands.iter().map(|kept| kept.command.id.to_string()).collect::<Vec<_>>();

    let mut wanted = CommandsWanted { max: 4, ..CommandsWanted::default() };
    let mut seen = Vec::new();
    loop {
        let page = page(&wanted).await;
        assert!(page.commands.len() == 4 || page.next.is_none());
        seen.extend(names(&page.commands));
        // What comes meanwhile is newer than all that is still to come.
        accept(&backbone, &holder("hub"), &[&format!("new-{}", seen.len())]).await;
        wanted.before = page.next;
        if wanted.before.is_none() {
            break;
        }
    }
    assert_eq!(seen, all);

    let only = |wanted: CommandsWanted| CommandsWanted { max: 100, ..wanted };
    let group = only(CommandsWanted { group: Some(id("a")), ..CommandsWanted::default() });
    assert_eq!(names(&page(&group).await.commands), ["a/valve", "a/pump"]);
    let word = |word: &str| Some(StateWanted::Word(word.into()));
    let cancelled = only(CommandsWanted { state: word("cancelled"), ..CommandsWanted::default() });
    assert_eq!(names(&page(&cancelled).await.commands), ["b/pump"]);
    let open =
        only(CommandsWanted { state: Some(StateWanted::Open), group: Some(id("b")), ..CommandsWanted::default() });
    assert_eq!(names(&page(&open).await.commands), ["b/valve"]);
    for nobody in [
        CommandsWanted { device: Some(device("valve")), ..CommandsWanted::default() },
        CommandsWanted { sender: Some(UserName::new("bob").unwrap()), ..CommandsWanted::default() },
    ] {
        assert_eq!(page(&only(nobody)).await.commands, []);
    }
    let ann = CommandsWanted {
        device: Some(device("pump")),
        sender: Some(UserName::new("ann").unwrap()),
        ..CommandsWanted::default()
    };
    let anns = page(&only(ann)).await;
    assert_eq!((anns.commands.len(), anns.next), (12, None));
    assert_eq!(backbone.commands(&room("other"), &only(CommandsWanted::default())).await.unwrap().commands, []);
}

pub(crate) async fn ended_commands_are_forgotten_and_open_ones_stay<F: Future<Output = Made>>(
    make: impl Fn(Keep) -> F,
) {
    let mut world = make(Keep { commands: Some(2 * MINUTE), ..Keep::default() }).await;
    let (backbone, pi) = (world.backbone(), holder("pi"));
    accept(&backbone, &pi, &["open", "ended"]).await;
    end(&backbone, &pi, "ended").await;
    let now = read(&backbone, &pi, &[]).await.now;
    let found = async |text: &str| backbone.command(&room("plant"), &id(text)).await.unwrap().is_some();
    world.trim(after(now, 30 * MINUTE)).await;
    assert!(found("ended").await, "who repeats it must not make a second one before an agent has forgotten the first");
    world.trim(after(now, 63 * MINUTE)).await;
    assert!(!found("ended").await);
    assert!(found("open").await);
    let all = CommandsWanted { max: 9, ..CommandsWanted::default() };
    assert_eq!(backbone.commands(&room("plant"), &all).await.unwrap().commands.len(), 1);
}

pub(crate) async fn a_store_put_back_is_not_the_book_that_was_read<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let mut world = make(Keep::default()).await;
    let pi = holder("pi");
    accept(&world.backbone(), &pi, &["a"]).await;
    world.keep_copy().await;
    accept(&world.backbone(), &pi, &["b"]).await;
    let before = read(&world.backbone(), &pi, &[]).await;
    world.put_back_copy().await;
    let backbone = world.backbone();
    let stale = accepting(&before, &pi, &[command("c", after(before.now, MINUTE))]);
    assert_eq!(write(&backbone, &stale).await, BookWritten::Changed);
    // The book grows anew to as many writes, and still is another one.
    accept(&backbone, &pi, &["x"]).await;
    assert_eq!(write(&backbone, &stale).await, BookWritten::Changed);
    assert_eq!(ids(&read(&backbone, &pi, &[]).await), ["a", "x"]);
}

pub(crate) async fn a_store_that_refuses_keeps_its_books_as_they_were<F: Future<Output = Made>>(
    make: impl Fn(Keep) -> F,
) {
    let mut world = make(Keep::default()).await;
    let (backbone, pi) = (world.backbone(), holder("pi"));
    accept(&backbone, &pi, &["a"]).await;
    let before = read(&backbone, &pi, &[]).await;
    let cancel = changed(&before, &pi, |read| {
        read.book.cancel(read.now, &id("a"));
        vec![read.book.commands[&id("a")].clone()]
    });
    world.break_store().await;
    let refused = backbone.write_book(&room("plant"), &cancel).await;
    assert!(matches!(refused, Err(BackboneError::Unavailable { .. })), "{refused:?}");
    world.mend_store().await;
    let mut answer = backbone.write_book(&room("plant"), &cancel).await;
    let mut tries = 0;
    while answer.is_err() && tries < 1_000 {
        tries += 1;
        world.pass(Duration::from_millis(20)).await;
        answer = backbone.write_book(&room("plant"), &cancel).await;
    }
    assert_eq!(answer, Ok(BookWritten::Done), "nothing had been written");
    let now = read(&backbone, &pi, &["a"]).await;
    assert_eq!(now.book.commands[&id("a")].standing.state, State::Ended(Outcome::Cancelled));
    assert_eq!(told(&backbone).await.len(), 2);
}
