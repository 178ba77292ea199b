//! Commands by way of the uplink: the gateway's end is the book of `proto`, the device is the test.

use std::collections::BTreeSet;

use lockgate_proto::command::{
    Answer, Book, Command, CommandId, Dispatch, Fields, HandOver, Outcome, Priority, Progress, State,
};
use lockgate_proto::ids::{CommandName, UserName};

use super::*;

const SESSION: SessionId = SessionId(1);

fn command(id: &str, deadline: UnixMicros) -> Command {
    Command {
        id: CommandId::new(id).unwrap(),
        device: DeviceName::new("pump").unwrap(),
        name: CommandName::new("start").unwrap(),
        arguments: Fields::default(),
        idempotent: false,
        priority: Priority::Normal,
        deadline,
        sender: UserName::new("ada").unwrap(),
    }
}

fn book_with(commands: impl IntoIterator<Item = Command>) -> Book {
    let mut book = Book::default();
    for command in commands {
        book.accept(TODAY, command, true).unwrap();
    }
    book
}

impl Gateway {
    /// Lets the agent in as one that moves commands, and hands over what waits.
    async fn welcome_with(&mut self, book: &mut Book) {
        let Some(AgentFrame::Hello(hello)) = self.hear().await else { panic!("a Hello comes first") };
        book.hello(TODAY, SESSION, hello.journal.expect("the agent has a journal"));
        let welcome = Welcome {
            session: SESSION,
            epochs: vec![self.settled()],
            retention_horizon: None,
            server_time: TODAY,
            limits: LinkLimits::default(),
            journal_heard: Some(book.mark.welcome()),
        };
        self.say(GatewayFrame::Welcome(welcome)).await;
        let wish = HandOver { session: SESSION, heard: book.mark.heard, have: BTreeSet::new(), max: 16 };
        let (orders, _) = book.hand_over(TODAY, &wish).unwrap();
        self.say(GatewayFrame::Dispatch(Dispatch { orders })).await;
    }

    /// Stores what the agent tells until the book says what is asked for.
    async fn until(&mut self, book: &mut Book, wanted: impl Fn(&Book) -> bool) {
        while !wanted(book) {
            self.one(book).await;
        }
    }

    /// Stores one message; gives what it tells of progress.
    async fn one(&mut self, book: &mut Book) -> Vec<String> {
        match self.hear().await {
            Some(AgentFrame::CommandUpdates(updates)) => {
                let (confirm, news) = book.told(TODAY, SESSION, &updates).unwrap();
                self.say(GatewayFrame::CommandConfirm(confirm)).await;
                return news.into_iter().filter_map(|news| Some(news.progress?.text.to_string())).collect();
            }
            Some(AgentFrame::Ping { id }) => self.say(GatewayFrame::Pong { id, server_time: TODAY }).await,
            Some(_) => {}
            None => panic!("the agent has left"),
        }
        Vec::new()
    }
}

fn state(book: &Book, id: &str) -> State {
    book.commands[&CommandId::new(id).unwrap()].standing.state.clone()
}

#[tokio::test]
async fn a_command_goes_down_acts_and_its_outcome_comes_up_also_after_a_break() {
    let mut world = World::new(TODAY);
    let (_, mut jobs) = mpsc::channel(16);
    std::mem::swap(&mut jobs, &mut world.jobs);
    let mut book = book_with([command("one", TODAY.offset_by(600 * SECOND))]);
    let mut begun = None;
    world
        .cut_after(async |gateway| {
            gateway.welcome_with(&mut book).await;
            let job = jobs.recv().await.unwrap();
            gateway.until(&mut book, |book| state(book, "one") == State::Executing).await;
            job.answer(Answer::Progress(Progress { percent: Some(50), text: "half".into() })).await;
            while gateway.one(&mut book).await != ["half"] {}
            begun = Some(job);
        })
        .await;
    // The link is down when the device is done.
    begun.unwrap().answer(Answer::Succeeded(Fields::default())).await;
    world
        .cut_after(async |gateway| {
            gateway.welcome_with(&mut book).await;
            gateway.until(&mut book, |book| state(book, "one").outcome().is_some()).await;
        })
        .await;
    assert_eq!(state(&book, "one"), State::Ended(Outcome::Succeeded(Fields::default())));
    assert!(jobs.try_recv().is_err(), "it was begun once");
}

#[tokio::test]
async fn a_command_whose_deadline_passes_while_another_runs_expires_untouched() {
    let mut world = World::new(TODAY);
    let (_, mut jobs) = mpsc::channel(16);
    std::mem::swap(&mut jobs, &mut world.jobs);
    let hand = world.hand.clone();
    let long = command("long", TODAY.offset_by(600 * SECOND));
    let late = Command { priority: Priority::Low, ..command("late", TODAY.offset_by(30 * SECOND)) };
    let mut book = book_with([long, late]);
    world
        .cut_after(async |gateway| {
            gateway.welcome_with(&mut book).await;
            let job = jobs.recv().await.unwrap();
            assert_eq!(job.command.id.as_str(), "long");
            gateway.until(&mut book, |book| state(book, "long") == State::Executing).await;
            // By the agent's own clock, which nobody sets.
            hand.advance(Duration::from_secs(31));
            job.answer(Answer::Succeeded(Fields::default())).await;
            gateway.until(&mut book, |book| state(book, "late").outcome().is_some()).await;
        })
        .await;
    assert_eq!(state(&book, "late"), State::Ended(Outcome::Expired));
    assert!(jobs.try_recv().is_err());
}
