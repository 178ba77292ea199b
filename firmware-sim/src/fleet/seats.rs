//! A reader's rooms: how far it is in each, and what it got. Every message of its gateway goes through here.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lockgate_proto::ids::{NameError, Site};
use lockgate_proto::position::{Offset, Position, Stamp};
use lockgate_proto::resume::{RoomProgress, Verdict};
use lockgate_proto::wire;
use lockgate_proto::wire::server_frame::Body as Answer;
use lockgate_proto::wire::subscribe::Start;
use prost::Message as _;

use super::delivery_logic::{Body, Delivery, Undecodable};
use super::mark_logic::Mark;
use super::reader::ReaderEnd;
use super::tally_logic::Tally;
use super::world::World;

/// Request 1 is the Connect; the rooms' follow.
const FIRST_ROOM_ID: u32 = 2;

/// What the shell must know of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The token is good: subscribe.
    LetIn,
    /// All rooms are subscribed.
    Up,
    /// The gateway leaves.
    GoAway { after: Duration, gateways: Vec<String> },
    /// Entries are missing without a word, or doubled in another history.
    DoesNotFollow,
    /// The gateway can't do what was asked, and wants to be asked again.
    NotNow(String),
    /// It will never do what was asked.
    Refused(String),
    /// Something that no gateway sends.
    Nonsense(&'static str),
}

/// One reader's rooms.
pub(super) struct Seats {
    rooms: Vec<Seat>,
    /// Subscriptions not yet answered.
    waiting: usize,
    is_let_in: bool,
    /// The rest of this connection is not looked at.
    is_over: bool,
    /// LIMIT: what one read brings; emptied after it.
    heard: VecDeque<Heard>,
    /// What is counted, faults aside.
    pub(super) end: ReaderEnd,
}

struct Seat {
    room: usize,
    site: Site,
    progress: RoomProgress,
    tally: Tally,
}

impl Seats {
    pub(super) fn new(world: &World, rooms: impl Iterator<Item = usize>, is_slow: bool) -> Result<Seats, NameError> {
        let seat = |room| {
            let tally = Tally::new(world.plan.agents_of(room).count());
            Ok(Seat { room, site: Site::new(world.plan.site(room))?, progress: RoomProgress::default(), tally })
        };
        Ok(Seats {
            rooms: rooms.map(seat).collect::<Result<_, _>>()?,
            waiting: 0,
            is_let_in: false,
            is_over: false,
            heard: VecDeque::new(),
            end: ReaderEnd { is_slow, ..ReaderEnd::default() },
        })
    }

    /// The sites of all rooms.
    pub(super) fn sites(&self) -> impl Iterator<Item = &Site> {
        self.rooms.iter().map(|seat| &seat.site)
    }

    /// A fresh connection: nothing is answered yet.
    pub(super) fn connect(&mut self) {
        (self.is_let_in, self.is_over, self.waiting) = (false, false, self.rooms.len());
        self.heard.clear();
    }

    /// Whether all rooms are subscribed.
    pub(super) fn is_up(&self) -> bool {
        self.is_let_in && self.waiting == 0
    }

    /// What to ask for: each room from where it was left.
    pub(super) fn requests(&self) -> impl Iterator<Item = (u32, wire::Subscribe)> {
        (FIRST_ROOM_ID..).zip(&self.rooms).map(|(id, seat)| {
            let start = match seat.progress.reached() {
                None => Start::Live(wire::Live {}),
                Some(at) => Start::Since(wire::Position { offset: at.offset.0, stamp: at.stamp.0 }),
            };
            let site = seat.site.as_str().to_owned();
            (id, wire::Subscribe { site, filter: None, start: Some(start), snapshot: false, conflate_ms: None })
        })
    }

    /// What came up since the last call.
    pub(super) fn take_heard(&mut self) -> VecDeque<Heard> {
        std::mem::take(&mut self.heard)
    }

    /// A message of the gateway.
    pub(super) fn hear(&mut self, world: &World, reader: usize, message: &[u8]) {
        if self.is_over {
            return;
        }
        self.end.messages += 1;
        self.end.bytes += message.len() as u64;
        match self.delivery(world, reader, message) {
            Ok(true) => {}
            Ok(false) => self.answer(world, reader, message),
            Err(Undecodable) => self.over(Heard::Nonsense("an entry that can't be decoded")),
        }
    }

    fn over(&mut self, why: Heard) {
        self.is_over = true;
        self.heard.push_back(why);
    }

    /// Entries; `false`: the message is something else.
    fn delivery(&mut self, world: &World, reader: usize, message: &[u8]) -> Result<bool, Undecodable> {
        let Some(mut delivery) = Delivery::of(message)? else { return Ok(false) };
        let Some(seat) = self.rooms.iter_mut().find(|seat| seat.site.as_str().as_bytes() == delivery.site) else {
            self.over(Heard::Nonsense("entries of a room that nobody asked for"));
            return Ok(true);
        };
        let now = world.now_us();
        let mut got = 0;
        while let Some(seen) = delivery.next()? {
            let verdict = seat.progress.entry(&seen.header);
            if verdict == Verdict::Resubscribe {
                self.over(Heard::DoesNotFollow);
                break;
            }
            if let Some(mark) = seen.mark() {
                got += u64::from(seat.take(world, mark, seen.backlog, (!self.end.is_slow).then_some(now)));
            }
            if let Body::Gap(epoch) = seen.body {
                self.end.gaps_told += u64::from(world.is_own_epoch(epoch));
            }
        }
        self.count(world, reader, got, now);
        Ok(true)
    }

    /// A message of the reference.
    pub(super) fn hear_bare(&mut self, world: &World, reader: usize, message: &[u8]) {
        self.end.messages += 1;
        self.end.bytes += message.len() as u64;
        let Some(mark) = Mark::from_message(message) else { return self.end.faults.strange += 1 };
        let room = world.plan.room_of(usize::try_from(mark.agent).unwrap_or(usize::MAX));
        let Some(seat) = self.rooms.iter_mut().find(|seat| seat.room == room) else {
            return self.end.faults.strange += 1;
        };
        let now = world.now_us();
        let got = seat.take(world, mark, false, (!self.end.is_slow).then_some(now));
        self.count(world, reader, u64::from(got), now);
    }

    /// Records that came for the first time.
    fn count(&mut self, world: &World, reader: usize, got: u64, now: u64) {
        self.end.got += got;
        if got > 0
            && let Some(board) = world.readers.get(reader)
        {
            board.got.store(self.end.got, Ordering::Relaxed);
            if !self.end.is_slow {
                board.last_us.store(now, Ordering::Relaxed);
            }
        }
    }

    fn answer(&mut self, world: &World, reader: usize, message: &[u8]) {
        let Ok(frame) = wire::ServerFrame::decode(message) else {
            return self.over(Heard::Nonsense("a frame that can't be decoded"));
        };
        match frame.body {
            Some(Answer::Connected(_)) => {
                self.is_let_in = true;
                self.heard.push_back(Heard::LetIn);
            }
            Some(Answer::Subscribed(subscribed)) => {
                let resumes = self.begin(&subscribed);
                self.waiting = self.waiting.saturating_sub(1);
                if resumes && self.waiting == 0 {
                    self.heard.push_back(Heard::Up);
                }
            }
            Some(Answer::Resynced(wire::Resynced { subscribed: Some(subscribed) })) => {
                self.end.not_recovered += 1;
                self.begin(&subscribed);
            }
            Some(Answer::Lagged(lagged)) => self.lagged(world, reader, &lagged),
            Some(Answer::Positions(positions)) => self.stated(positions),
            Some(Answer::GoAway(go_away)) => {
                let after = Duration::from_millis(go_away.reconnect_after_ms.into());
                self.heard.push_back(Heard::GoAway { after, gateways: go_away.gateways });
            }
            // It asks us to come back.
            Some(Answer::Error(error)) if error.retry_after_ms > 0 => {
                let after = Duration::from_millis(error.retry_after_ms.into());
                self.heard.push_back(Heard::GoAway { after, gateways: Vec::new() });
                self.over(Heard::NotNow(error.message));
            }
            Some(Answer::Error(error)) => self.over(Heard::Refused(error.message)),
            // Of no account here, or of a later version.
            Some(_) | None => {}
        }
    }

    /// Entries of a room go on from here.
    fn begin(&mut self, subscribed: &wire::Subscribed) -> bool {
        let position = subscribed.position.map(position_of);
        let seat = self.rooms.iter_mut().find(|seat| seat.site.as_str() == subscribed.site);
        let (Some(seat), Some(position)) = (seat, position) else {
            self.over(Heard::Nonsense("a subscription that nobody asked for"));
            return false;
        };
        let was_there = seat.progress.reached().is_some();
        self.end.not_recovered += u64::from(was_there && !subscribed.recovered);
        seat.progress.subscribed(position);
        true
    }

    fn lagged(&mut self, world: &World, reader: usize, lagged: &wire::Lagged) {
        let seat = self.rooms.iter_mut().find(|seat| seat.site.as_str() == lagged.site);
        let (Some(seat), Some(after), Some(through)) = (seat, lagged.after, lagged.through) else {
            return self.over(Heard::Nonsense("a lag of a room that nobody asked for"));
        };
        seat.progress.subscribed(position_of(through));
        self.end.lagged_told += 1;
        self.end.lagged_entries += through.offset.saturating_sub(after.offset);
        if let Some(board) = world.readers.get(reader) {
            board.lagged.store(self.end.lagged_entries, Ordering::Relaxed);
        }
    }

    /// Nothing is filtered here, so a statement ahead of what came shows a hole.
    fn stated(&mut self, positions: wire::Positions) {
        for stated in positions.positions {
            let seat = self.rooms.iter().find(|seat| seat.site.as_str() == stated.site);
            let (Some(seat), Some(position)) = (seat, stated.position.map(position_of)) else { continue };
            let is_ahead = seat.progress.reached().is_none_or(|reached| reached.offset < position.offset);
            if is_ahead || seat.progress.clone().stated(position) == Verdict::Resubscribe {
                return self.over(Heard::DoesNotFollow);
            }
        }
    }

    /// The account of all rooms.
    pub(super) fn settle(mut self, world: &World) -> ReaderEnd {
        for seat in &self.rooms {
            let published = world.plan.agents_of(seat.room).map(|agent| world.published(agent));
            self.end.faults.add(seat.tally.settle(published));
        }
        // What was told as lagged is not lost without a word.
        self.end.faults.lost = self.end.faults.lost.saturating_sub(self.end.lagged_entries);
        self.end
    }
}

impl Seat {
    /// Enters a record; `true`: it is new. Without `now`, how long it took is nobody's measure.
    fn take(&mut self, world: &World, mark: Mark, backlog: bool, now: Option<u64>) -> bool {
        if mark.run != world.run {
            return false;
        }
        let agent = usize::try_from(mark.agent).unwrap_or(usize::MAX);
        if world.plan.room_of(agent) != self.room {
            self.tally.strange();
            return false;
        }
        let is_new = self.tally.take(world.plan.seat_of(agent), mark.number, backlog);
        if let Some(now) = now.filter(|_| is_new) {
            let took = now.saturating_sub(mark.at_us);
            let figures = &world.figures;
            let histogram = if backlog { &figures.backlog } else { &figures.live };
            histogram.add(took);
            if let Some(board) = world.agents.get(agent) {
                board.got(mark.number, took);
            }
        }
        is_new
    }
}

fn position_of(position: wire::Position) -> Position {
    Position { offset: Offset(position.offset), stamp: Stamp(position.stamp) }
}

#[cfg(test)]
mod tests;
