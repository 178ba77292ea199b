//! What the agent's end does with each input; what it does in every order, proto/tests/commands explores.

use super::*;
use crate::command::book::tests::{command, device};
use crate::command::{FailureKind, Journal, JournalHeard, JournalId, Order, Outcome, Phase, Priority, State};
use crate::time::UnixMicros;

/// An executor with its disk; the backbone's clock is the boot's own.
struct Bench {
    executor: Executor,
    disk: Journal,
    boot: u64,
    starts: Vec<(String, Attempt)>,
    sent: Vec<CommandUpdates>,
    /// Writes reach the disk at once.
    syncs: bool,
    timer: Option<MonoTime>,
}

fn at(seconds: u64) -> MonoTime {
    MonoTime(Duration::from_secs(seconds))
}

fn order(command: Command) -> ExecutorInput {
    ExecutorInput::Dispatched(Dispatch { orders: vec![Order { command, cancel: false }] })
}

fn id(text: &str) -> CommandId {
    CommandId::new(text).unwrap()
}

impl Bench {
    fn new() -> Bench {
        let disk = Journal::new(JournalId(1));
        let executor = Executor::new(ExecutorConfig::new(BootId(0)), disk.clone());
        Bench { executor, disk, boot: 0, starts: Vec::new(), sent: Vec::new(), syncs: true, timer: None }
    }

    fn welcomed() -> Bench {
        let mut bench = Bench::new();
        bench.welcome(0, 0);
        bench
    }

    fn welcome(&mut self, seconds: u64, heard: u64) {
        let heard = JournalHeard { through: heard, put_back: false };
        self.welcome_with(seconds, heard);
    }

    fn welcome_with(&mut self, seconds: u64, heard: JournalHeard) {
        let server = UnixMicros(at(seconds).micros());
        let time = BackboneTime { asked: at(seconds), answered: at(seconds), server };
        self.feed(seconds, ExecutorInput::Welcomed { heard, time });
    }

    fn feed(&mut self, seconds: u64, input: ExecutorInput) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut actions = Vec::new();
            self.executor.handle(at(seconds), input, &mut actions);
            for action in actions {
                let records = match action {
                    ExecutorAction::Append(records) => self.disk.records().into_iter().chain(records).collect(),
                    ExecutorAction::Rewrite { records, .. } => records,
                    ExecutorAction::Start { command, attempt } => {
                        self.starts.push((command.id.to_string(), attempt));
                        continue;
                    }
                    ExecutorAction::Send(updates) => {
                        self.sent.push(updates);
                        continue;
                    }
                    ExecutorAction::ArmTimer(at) => {
                        self.timer = Some(at);
                        continue;
                    }
                };
                if self.syncs {
                    self.disk = Journal::replay(records).unwrap();
                    inputs.push(ExecutorInput::Stored { through: self.disk.length() });
                }
            }
        }
    }

    fn answer(&mut self, seconds: u64, text: &str, answer: Answer) {
        let attempt = self.starts.iter().rfind(|(started, _)| started == text).unwrap().1;
        self.feed(seconds, ExecutorInput::Answered { id: id(text), attempt, answer });
    }

    fn restart(&mut self, new_boot: bool) {
        self.boot += u64::from(new_boot);
        self.executor = Executor::new(ExecutorConfig::new(BootId(self.boot)), self.disk.clone());
        self.starts.clear();
    }

    fn phase(&self, text: &str) -> Phase {
        self.executor.journal().get(&id(text)).unwrap().phase.clone()
    }

    fn started(&self) -> Vec<&str> {
        self.starts.iter().map(|(id, _)| id.as_str()).collect()
    }
}

#[test]
fn nothing_happens_before_the_journal_says_so_on_the_disk() {
    let mut bench = Bench::welcomed();
    bench.syncs = false;
    bench.feed(1, order(command("c")));
    assert!(bench.started().is_empty() && bench.sent.is_empty());
    bench.feed(2, ExecutorInput::Stored { through: 2 });
    assert_eq!(bench.started(), ["c"]);
    assert_eq!(bench.sent[0].reports[0].state, State::Executing);
}

#[test]
fn a_disk_that_takes_too_long_lets_a_command_expire() {
    let mut bench = Bench::welcomed();
    bench.syncs = false;
    bench.feed(1, order(command("c")));
    bench.feed(31, ExecutorInput::Stored { through: 2 });
    assert!(bench.started().is_empty());
    assert_eq!(bench.phase("c"), Phase::Ended(Outcome::Expired));
}

#[test]
fn one_at_a_time_runs_at_a_device_the_urgent_first() {
    let mut bench = Bench::welcomed();
    bench.feed(1, order(command("first")));
    bench.feed(1, order(command("second")));
    bench.feed(1, order(Command { priority: Priority::High, ..command("urgent") }));
    bench.feed(1, order(Command { device: device("valve"), ..command("valve") }));
    assert_eq!(bench.started(), ["first", "valve"]);
    bench.answer(2, "first", Answer::Succeeded(Fields::default()));
    assert_eq!(bench.started(), ["first", "valve", "urgent"]);
    let mut config = ExecutorConfig::new(BootId(0));
    config.lanes.insert(device("pump"), 2);
    bench.executor = Executor::new(config, Journal::new(JournalId(2)));
    (bench.disk, bench.starts) = (Journal::new(JournalId(2)), Vec::new());
    bench.welcome(1, 0);
    for name in ["a", "b", "c"] {
        bench.feed(1, order(command(name)));
    }
    assert_eq!(bench.started(), ["a", "b"]);
}

#[test]
fn a_busy_device_is_asked_again_after_the_time_that_it_said_and_not_after_the_deadline() {
    let mut bench = Bench::welcomed();
    bench.feed(1, order(command("c")));
    bench.answer(2, "c", Answer::Busy { retry_after: Duration::from_secs(5) });
    assert_eq!((bench.phase("c"), bench.timer), (Phase::Delivered, Some(at(7))));
    bench.feed(6, ExecutorInput::TimerFired);
    assert_eq!(bench.started().len(), 1);
    bench.feed(7, ExecutorInput::TimerFired);
    assert_eq!(bench.starts.last(), Some(&("c".to_owned(), Attempt(2))));
    bench.answer(8, "c", Answer::Busy { retry_after: Duration::from_secs(60) });
    assert!(bench.timer.is_some_and(|timer| timer <= at(30)));
    bench.feed(30, ExecutorInput::TimerFired);
    assert_eq!(bench.phase("c"), Phase::Ended(Outcome::Expired));
}

#[test]
fn an_answer_to_an_earlier_attempt_counts_for_nothing() {
    let mut bench = Bench::welcomed();
    bench.feed(1, order(command("c")));
    bench.answer(2, "c", Answer::Busy { retry_after: Duration::ZERO });
    assert_eq!(bench.starts.last().unwrap().1, Attempt(2));
    let late =
        ExecutorInput::Answered { id: id("c"), attempt: Attempt(1), answer: Answer::Succeeded(Fields::default()) };
    bench.feed(3, late);
    assert_eq!(bench.phase("c"), Phase::Executing);
}

#[test]
fn a_slow_answer_about_the_time_makes_a_deadline_nearer() {
    let mut bench = Bench::new();
    let time = BackboneTime { asked: at(0), answered: at(20), server: UnixMicros(at(10).micros()) };
    bench.feed(20, ExecutorInput::Welcomed { heard: JournalHeard::default(), time });
    bench.feed(20, order(command("c")));
    assert_eq!(bench.phase("c"), Phase::Ended(Outcome::Expired), "it may be 30 seconds past");
}

#[test]
fn a_crash_of_the_process_lets_waiting_ones_start_and_interrupts_begun_ones() {
    let mut bench = Bench::welcomed();
    bench.feed(1, order(command("begun")));
    bench.feed(1, order(command("waiting")));
    bench.feed(1, order(Command { idempotent: true, device: device("valve"), ..command("again") }));
    bench.restart(false);
    let length = bench.executor.mark().length;
    bench.feed(2, ExecutorInput::TimerFired);
    assert_eq!(bench.executor.journal().length(), length, "before a Welcome, a run writes nothing");
    bench.welcome(2, 0);
    assert_eq!(bench.phase("begun"), Phase::Ended(Outcome::Interrupted));
    assert_eq!(bench.started(), ["waiting", "again"]);
    assert_eq!(bench.starts[1].1, Attempt(2));
}

#[test]
fn a_new_boot_starts_only_what_is_idempotent_and_provably_in_time() {
    for (seconds, put_back, starts, ends) in [
        (2, false, true, None),
        (31, false, false, Some(Outcome::Interrupted)),
        (2, true, false, Some(Outcome::Interrupted)),
    ] {
        let mut bench = Bench::welcomed();
        bench.feed(1, order(command("running")));
        bench.feed(1, order(command("waiting")));
        bench.feed(1, order(Command { idempotent: true, ..command("harmless") }));
        bench.restart(true);
        let through = bench.disk.length();
        bench.welcome_with(seconds, JournalHeard { through, put_back });
        assert_eq!(bench.phase("waiting"), Phase::Ended(Outcome::Interrupted), "the card may have been put back");
        assert_eq!(bench.started() == ["harmless"], starts);
        if let Some(outcome) = ends {
            assert_eq!(bench.phase("harmless"), Phase::Ended(outcome), "it may have run: it did not expire");
        }
    }
}

#[test]
fn a_cancelled_command_does_not_start_and_a_running_one_goes_on() {
    let mut bench = Bench::welcomed();
    bench.feed(1, order(command("running")));
    bench.feed(1, order(command("waiting")));
    let cancel = |name: &str| Order { command: command(name), cancel: true };
    let orders = ["running", "waiting", "never-came"].map(cancel).to_vec();
    bench.feed(2, ExecutorInput::Dispatched(Dispatch { orders }));
    assert_eq!(bench.phase("waiting"), Phase::Ended(Outcome::Cancelled));
    assert_eq!(bench.phase("never-came"), Phase::Ended(Outcome::Cancelled));
    assert_eq!(bench.phase("running"), Phase::Executing);
}

#[test]
fn a_command_that_is_known_is_told_again_and_not_run_again() {
    let mut bench = Bench::welcomed();
    bench.feed(1, order(command("c")));
    bench.answer(2, "c", Answer::Succeeded(Fields::default()));
    bench.sent.clear();
    bench.feed(3, order(command("c")));
    bench.feed(3, order(Command { device: device("valve"), ..command("c") }));
    assert_eq!(bench.started(), ["c"]);
    assert_eq!(bench.sent.len(), 2);
    assert!(bench.sent.iter().all(|told| told.reports[0].command == Some(command("c"))), "with the command that it is");
}

#[test]
fn a_full_journal_refuses_and_forgets_only_what_is_over_and_told() {
    let mut bench = Bench::new();
    let config =
        ExecutorConfig { commands_max: 1, kept_after: Duration::from_secs(10), ..ExecutorConfig::new(BootId(0)) };
    bench.executor = Executor::new(config, bench.disk.clone());
    bench.welcome(0, 0);
    bench.feed(1, order(command("c")));
    let failure = Failure { kind: FailureKind::Refused, reason: "locked".into() };
    bench.answer(2, "c", Answer::Failed(failure));
    let next = || order(Command { deadline: UnixMicros(at(90).micros()), ..command("next") });
    bench.feed(41, next());
    assert_eq!(bench.sent.last().unwrap().full, [id("next")], "the backbone has not confirmed");
    bench.feed(41, ExecutorInput::Confirmed(Confirm { through: 3 }));
    bench.feed(39, next());
    assert_eq!(bench.sent.last().unwrap().full, [id("next")], "its deadline has not passed by ten seconds");
    bench.feed(41, next());
    assert_eq!(bench.started(), ["c", "next"]);
    assert_eq!((bench.disk.count(), bench.disk.forgotten(), bench.disk.length()), (1, 3, 5));
}

#[test]
fn what_may_be_forgotten_is_not_told_as_expired() {
    let mut bench = Bench::new();
    let opened = JournalRecord::Opened { id: JournalId(1), length: 9, forgotten: 7 };
    bench.disk = Journal::replay([opened]).unwrap();
    bench.restart(false);
    for (heard, outcome) in [(6, Outcome::Interrupted), (7, Outcome::Expired)] {
        bench.welcome(40, heard);
        let name = outcome.as_str();
        bench.feed(40, order(command(name)));
        assert_eq!(bench.phase(name), Phase::Ended(outcome));
    }
}

#[test]
fn a_reconnect_tells_what_the_backbone_has_not_heard_in_messages_of_bounded_size() {
    let mut bench = Bench::welcomed();
    for number in 0..40 {
        bench.feed(1, order(Command { device: device(&format!("d{number}")), ..command(&format!("c{number}")) }));
    }
    bench.feed(2, ExecutorInput::Disconnected);
    bench.sent.clear();
    bench.welcome(3, 20);
    let reports: Vec<usize> = bench.sent.iter().map(|told| told.reports.len()).collect();
    assert_eq!(reports, [16, 14], "of eighty changes, twenty were heard: of ten commands");
    assert_eq!((bench.sent[0].after, bench.sent[1].through), (20, 80));
    assert_eq!(bench.sent[0].through, bench.sent[1].after);
}

#[test]
fn numbers_that_a_lost_card_has_used_are_not_used_again() {
    let mut bench = Bench::new();
    bench.welcome_with(0, JournalHeard { through: 12, put_back: true });
    bench.feed(1, order(command("c")));
    assert_eq!(bench.disk.get(&id("c")).unwrap().place.arrived, 13);
    assert_eq!((bench.sent[0].after, bench.executor.mark().length), (12, 14));
}

#[test]
fn a_file_that_grows_is_written_anew_and_says_the_same() {
    let mut bench = Bench::new();
    let config = ExecutorConfig { records_max: 8, ..ExecutorConfig::new(BootId(0)) };
    bench.executor = Executor::new(config, bench.disk.clone());
    bench.welcome(0, 0);
    bench.feed(1, order(command("c")));
    for _ in 0..20 {
        bench.answer(2, "c", Answer::Busy { retry_after: Duration::ZERO });
        assert_eq!(&bench.disk, bench.executor.journal());
    }
    assert_eq!(bench.disk.records().len(), 2);
    assert_eq!(bench.disk.get(&id("c")).unwrap().attempts, 21);
}

#[test]
fn progress_is_passed_on_while_there_is_someone_to_hear_it() {
    let mut bench = Bench::welcomed();
    bench.feed(1, order(command("c")));
    let progress = |percent| Answer::Progress(Progress { percent: Some(percent), text: "".into() });
    bench.answer(2, "c", progress(10));
    assert_eq!(bench.sent.last().unwrap().progress[0].progress.percent, Some(10));
    bench.feed(3, ExecutorInput::Disconnected);
    bench.answer(3, "c", progress(20));
    bench.welcome(4, 2);
    assert!(bench.sent.last().unwrap().progress[0].progress.percent == Some(10), "what is past is not told");
    assert_eq!(bench.phase("c"), Phase::Executing);
}
