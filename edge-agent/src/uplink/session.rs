//! One connection to a gateway: moves frames, asks the queue, keeps the timer.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use lockgate_proto::command::{CommandUpdates, ExecutorInput, JournalMark};
use lockgate_proto::convert::{decode_gateway_frame, encode_agent_frame};
use lockgate_proto::link::agent::{Action, Holdings, Input, ReadId, ReadRecord};
use lockgate_proto::link::close::CloseCode;
use lockgate_proto::link::frame::GatewayFrame;
use lockgate_proto::ranges::{RangeSet, SeqRange};
use lockgate_proto::seq::{Epoch, Lane, Seq};
use lockgate_proto::time::MonoTime;
use lockgate_runtime::link::{Link, Received};
use lockgate_runtime::words::{chain, span};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::time_logic::{Resolved, resolve};
use super::{End, Uplink, refusal};
use crate::commands::{CommandsClosed, CommandsLink};
use crate::queue::{FetchError, Progress, QueueClosed, RecordTime};

/// How long an agent that stops waits for the acknowledgement of what is under way.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(3);

/// A part of the agent that a connection works with has ended.
#[derive(Debug)]
struct Closing;

impl From<QueueClosed> for Closing {
    fn from(_: QueueClosed) -> Closing {
        Closing
    }
}

impl From<CommandsClosed> for Closing {
    fn from(_: CommandsClosed) -> Closing {
        Closing
    }
}

/// What the shell of one connection keeps.
struct Connection {
    link: Link,
    commands: CommandsLink,
    progress: watch::Receiver<Progress>,
    /// What the link was last told.
    told: Progress,
    actions: VecDeque<Action>,
    timer: Option<MonoTime>,
    /// Set once we were told to stop.
    leave_at: Option<Instant>,
}

/// What woke the loop.
enum Woken {
    Stop,
    Received(Result<Received, lockgate_runtime::link::LinkError>),
    Queue,
    Updates(Option<CommandUpdates>),
    TimeKnown,
    Timer,
    TooLate,
}

impl Uplink {
    /// Speaks over a fresh connection until it ends.
    pub(super) async fn session(&mut self, link: Link, stop: &CancellationToken) -> End {
        let mut progress = self.parts.queue.progress();
        let told = *progress.borrow_and_update();
        // The mark is of what the disk holds before this connection tells of anything.
        let mark = self.parts.commands.mark();
        let commands = match self.parts.commands.connect().await {
            Ok(commands) => commands,
            Err(CommandsClosed) => return End::Closing,
        };
        let (actions, timer, leave_at) = (VecDeque::new(), None, None);
        let mut connection = Connection { link, commands, progress, told, actions, timer, leave_at };
        let end = match self.speak(&mut connection, mark, stop).await {
            Ok(end) => end,
            Err(Closing) => End::Closing,
        };
        // An executor that is gone has nothing to tell any more.
        let _gone = connection.commands.feed(ExecutorInput::Disconnected).await;
        // The link hears of it in any case; what it would still have us do is of no use.
        self.handle(&mut connection, Input::LinkLost);
        match &end {
            End::Closed { code: Some(code), why } => connection.link.close_with(code.code(), why).await,
            End::Stopped | End::Closing => connection.link.close(CloseCode::ShuttingDown).await,
            End::Closed { code: None, .. } | End::Broken { .. } => connection.link.close(CloseCode::IdleTimeout).await,
        }
        end
    }

    async fn speak(
        &mut self,
        connection: &mut Connection,
        mark: JournalMark,
        stop: &CancellationToken,
    ) -> Result<End, Closing> {
        let mut time = self.parts.time.watch();
        let mut is_time_known = self.parts.time.wall().is_some();
        let holdings = self.holdings().await?;
        let clock = self.parts.time.wall();
        self.handle(connection, Input::Connected { holdings, clock, journal: Some(mark) });
        loop {
            while let Some(action) = connection.actions.pop_front() {
                if let Some(end) = self.perform(connection, action).await? {
                    return Ok(end);
                }
            }
            let deadline = connection.timer.map(|at| self.parts.time.clock().tokio_instant(at));
            let woken = tokio::select! {
                biased;
                () = stop.cancelled(), if connection.leave_at.is_none() => Woken::Stop,
                // CANCEL-SAFE: a half-read message stays in the link.
                received = connection.link.receive() => Woken::Received(received),
                // CANCEL-SAFE: a watch holds nothing.
                Ok(()) = connection.progress.changed() => Woken::Queue,
                // CANCEL-SAFE: nothing is taken until `recv` completes.
                updates = connection.commands.updates.recv() => Woken::Updates(updates),
                // CANCEL-SAFE: as above.
                Ok(()) = time.changed(), if !is_time_known => Woken::TimeKnown,
                // CANCEL-SAFE: a timer holds nothing.
                () = sleep_or_never(deadline) => Woken::Timer,
                // CANCEL-SAFE: as above.
                () = sleep_or_never(connection.leave_at) => Woken::TooLate,
            };
            match woken {
                Woken::Stop => {
                    connection.leave_at = Some(Instant::now() + DRAIN_TIME_MAX);
                    self.handle(connection, Input::DrainRequested);
                }
                Woken::Received(Ok(Received::Message(bytes))) => self.frame(connection, bytes),
                Woken::Received(Ok(Received::Closed(closed))) if connection.leave_at.is_some() => {
                    info!(%closed, "The gateway has closed the connection.");
                    return Ok(End::Stopped);
                }
                Woken::Received(Ok(Received::Closed(closed))) => {
                    return Ok(End::Closed { code: closed.code(), why: refusal::of_close(&closed, &self.parts.link) });
                }
                Woken::Received(Err(error)) => return Ok(End::Broken { why: chain(&error) }),
                Woken::Queue => self.queue_changed(connection).await?,
                Woken::Updates(Some(updates)) => self.handle(connection, Input::CommandUpdates(updates)),
                Woken::Updates(None) => {
                    let why = "what is told of commands was not taken".to_owned();
                    return Ok(End::Closed { code: Some(CloseCode::SlowConsumer), why });
                }
                Woken::TimeKnown => {
                    is_time_known = self.parts.time.wall().is_some();
                    if is_time_known {
                        let holdings = self.holdings().await?;
                        self.handle(connection, Input::QueueChanged { holdings });
                    }
                }
                Woken::Timer => {
                    connection.timer = None;
                    self.handle(connection, Input::TimerFired);
                }
                Woken::TooLate => return Ok(End::Stopped),
            }
        }
    }

    fn handle(&mut self, connection: &mut Connection, input: Input) {
        let mut actions = Vec::new();
        self.parts.link.handle(self.parts.time.now(), input, &mut actions);
        connection.actions.extend(actions);
    }

    fn frame(&mut self, connection: &mut Connection, bytes: Bytes) {
        match decode_gateway_frame(bytes) {
            Ok(Some(frame)) => {
                if matches!(&frame, GatewayFrame::Ack(_)) {
                    // What is stored is proof that the way is good.
                    self.gateways.proved();
                }
                self.handle(connection, Input::Frame(frame));
            }
            // A kind of frame that a later version has: it is not for us.
            Ok(None) => {}
            Err(error) => self.handle(connection, Input::BadFrame(error.to_string())),
        }
    }

    /// Tells the link what is new in the queue since it was last told.
    async fn queue_changed(&mut self, connection: &mut Connection) -> Result<(), QueueClosed> {
        let now = *connection.progress.borrow_and_update();
        let before = std::mem::replace(&mut connection.told, now);
        if now.gaps_version != before.gaps_version {
            let holdings = self.holdings().await?;
            self.handle(connection, Input::QueueChanged { holdings });
        }
        for lane in Lane::ALL {
            let seq = now.appended[lane.index()];
            if before.appended[lane.index()] < seq {
                self.handle(connection, Input::Appended { lane, seq });
            }
        }
        Ok(())
    }

    async fn holdings(&self) -> Result<Holdings, QueueClosed> {
        self.parts.queue.held().await
    }

    /// Does one thing that the link wants done; `Some`: the connection ends.
    async fn perform(&mut self, connection: &mut Connection, action: Action) -> Result<Option<End>, Closing> {
        let queue = &self.parts.queue;
        match action {
            Action::Send(frame) => {
                if let Err(error) = connection.link.feed(encode_agent_frame(&frame)).await {
                    return Ok(Some(End::Broken { why: chain(&error) }));
                }
            }
            Action::Read { request, epoch, lane, range, bytes_max } => {
                let wanted = Wanted { request, epoch, lane, range, bytes_max };
                let answer = self.read(wanted).await?;
                if matches!(&answer, Input::Records { missing, .. } if !missing.is_empty()) {
                    // Why they are missing the queue knows, and the link must hear of that first.
                    let holdings = self.holdings().await?;
                    self.handle(connection, Input::QueueChanged { holdings });
                }
                self.handle(connection, answer);
            }
            Action::Settled { epoch, lane, set } => queue.set_settled(epoch, lane, set).await?,
            Action::EpochClosed(epoch) => queue.epoch_closed(epoch).await?,
            Action::DeadLetter { epoch, lane, seq, reason } => self.rejected(epoch, lane, seq, &reason).await?,
            Action::Gap(gap) => queue.add_gap(gap).await?,
            Action::ServerTime { asked, answered, server } => {
                self.parts.time.gateway_time(asked, answered, server);
                self.up(answered.since(asked));
            }
            Action::Executor(input) => connection.commands.feed(input).await?,
            Action::GoAway { reason, reconnect_after, gateways } => {
                info!(reason, reconnect_after = %span(reconnect_after), "The gateway asks us to leave.");
                self.detour(reconnect_after, &gateways);
            }
            Action::Close { code: CloseCode::ShuttingDown, .. } if connection.leave_at.is_some() => {
                return Ok(Some(End::Stopped));
            }
            Action::Close { code, why } => return Ok(Some(End::Closed { code: Some(code), why })),
            Action::ArmTimer(at) => connection.timer = Some(at),
        }
        Ok(None)
    }

    /// Reads from the queue, and gives each record the world's time. Stops before the first whose time is
    /// not known yet.
    async fn read(&self, wanted: Wanted) -> Result<Input, QueueClosed> {
        let Wanted { request, epoch, lane, range, bytes_max } = wanted;
        let batch = match self.parts.queue.read(epoch, lane, range, bytes_max).await {
            Ok(batch) => batch,
            Err(FetchError::Closed(closed)) => return Err(closed),
            Err(FetchError::Read(error)) => {
                warn!(error = chain(&error), "The queue can't be read just now.");
                return Ok(Input::Records { request, records: Vec::new(), missing: RangeSet::new() });
            }
        };
        let mut boots = Vec::new();
        if batch.records.iter().any(|record| matches!(record.time, RecordTime::Boot { .. })) {
            boots = self.parts.queue.boots().await?;
            // The queue knows the anchor as it was last written down; the keeper knows it better.
            for boot in boots.iter_mut().filter(|boot| boot.boot == self.parts.boot) {
                boot.anchor = self.parts.time.anchor().or(boot.anchor);
            }
        }
        let mut records = Vec::with_capacity(batch.records.len());
        let mut missing = batch.missing;
        for stored in batch.records {
            match resolve(&stored, &boots, self.parts.boot) {
                Resolved::Ready(record, taken_at) => records.push(ReadRecord { seq: stored.seq, taken_at, record }),
                Resolved::NotYet => {
                    if let Some(rest) = SeqRange::new(stored.seq, Seq::MAX) {
                        missing.remove(rest);
                    }
                    break;
                }
            }
        }
        Ok(Input::Records { request, records, missing })
    }

    /// A record that the gateway can't use: kept for people, with its bytes as far as they can be had.
    async fn rejected(&self, epoch: Epoch, lane: Lane, seq: Seq, reason: &str) -> Result<(), QueueClosed> {
        error!(%epoch, %lane, %seq, reason, "The gateway refuses a record.");
        let record = match SeqRange::one(seq) {
            Some(range) => self.parts.queue.read(epoch, lane, range, 1).await,
            None => return Ok(()),
        };
        let payload = match record {
            Ok(mut batch) => batch.records.pop().map(|record| record.payload).unwrap_or_default(),
            Err(FetchError::Closed(closed)) => return Err(closed),
            Err(FetchError::Read(_)) => Bytes::new(),
        };
        let wall = self.parts.time.wall();
        if self.parts.dead_letters.keep_rejected((epoch, lane, seq), reason, payload, wall).is_err() {
            warn!(%epoch, %lane, %seq, "The refused record is not kept: too many came at once.");
        }
        Ok(())
    }
}

struct Wanted {
    request: ReadId,
    epoch: Epoch,
    lane: Lane,
    range: SeqRange,
    bytes_max: usize,
}

/// Never, where there is no instant.
async fn sleep_or_never(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
