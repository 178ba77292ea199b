//! The fleet against the reference: the same schedule, sockets and account, without the promises of a gateway.
//!
//! A message is a mark and nothing else of meaning. Connections are made once: the reference keeps nothing that one
//! could resume from, so one that is lost ends the run.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, bail};
use lockgate_proto::ranges::{RangeSet, SeqRange};
use lockgate_proto::seq::Seq;
use tokio_util::sync::CancellationToken;

use super::plan_logic::Pace;
use super::publisher::Publisher;
use super::queue_logic::LANE;
use super::reader::ReaderEnd;
use super::seats::Seats;
use super::socket::Socket;
use super::turn_logic::Turn;
use super::world::{World, count};
use crate::reference::Role;

/// The reference knows one language only.
const NO_SUBPROTOCOL: Option<&str> = None;

/// Gets all messages of its rooms until told to leave.
pub(super) async fn read(world: Arc<World>, index: usize, stop: CancellationToken) -> anyhow::Result<ReaderEnd> {
    let client = world.plan.clients.get(index).context("a reader has a plan")?.clone();
    let mut seats = Seats::new(&world, client.rooms.iter().copied(), client.is_slow)?;
    let Some(mut socket) = connect(&world, index, &Role::Read(client.rooms), client.is_slow, &stop).await? else {
        return Ok(seats.settle(&world));
    };
    world.figures.readers_up.fetch_add(1, Ordering::Relaxed);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            // CANCEL-SAFE: what was read is handed on within the poll.
            came = poll_fn(|context| socket.poll_messages(context, |message| seats.hear_bare(&world, index, message))) => {
                came.context("the reference let a reader go")?;
            }
        }
    }
    socket.close().await;
    Ok(seats.settle(&world))
}

/// Publishes on schedule until told to leave.
pub(super) async fn publish(world: Arc<World>, index: usize, stop: CancellationToken) -> anyhow::Result<()> {
    let room = world.plan.room_of(index);
    let is_acknowledged = matches!(world.plan.pace, Pace::InFlight(_));
    let role = if is_acknowledged { Role::Record(room) } else { Role::Publish(room) };
    let mut publisher = Publisher::new(Arc::clone(&world), index)?;
    let Some(mut socket) = connect(&world, index, &role, false, &stop).await? else { return Ok(()) };
    world.figures.agents_up.fetch_add(1, Ordering::Relaxed);
    let mut acknowledged = None;
    loop {
        socket.flush().await.context("the reference let a publisher go")?;
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            // CANCEL-SAFE: what was read is handed on within the poll.
            came = poll_fn(|context| socket.poll_messages(context, |ack| acknowledged = ack.try_into().ok())) => {
                came.context("the reference let a publisher go")?;
                settle(&world, index, &mut publisher, acknowledged.take().map(u64::from_le_bytes));
            }
            // CANCEL-SAFE: it only waits.
            () = publisher.due() => {
                let first = publisher.queue.next();
                publisher.publish();
                let last = publisher.queue.next().previous();
                for record in SeqRange::new(first, last).into_iter().flat_map(|range| publisher.queue.messages(range)) {
                    socket.feed(record);
                }
                if !is_acknowledged {
                    settle(&world, index, &mut publisher, Some(last.get()));
                }
            }
        }
    }
    socket.close().await;
    Ok(())
}

/// Everything up to a number is acknowledged: the reference takes a publisher's messages in order.
fn settle(world: &World, index: usize, publisher: &mut Publisher, through: Option<u64>) {
    let range = through.and_then(|through| SeqRange::new(Seq::FIRST, Seq::new(through)));
    let set: RangeSet = range.into_iter().collect();
    publisher.settled(world.epoch(index), LANE, &set);
}

/// `None`: told to leave.
async fn connect(
    world: &World,
    index: usize,
    role: &Role,
    is_slow: bool,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Socket>> {
    let _door = Arc::clone(&world.doors).acquire_owned().await?;
    let began = world.now_us();
    let url = Turn::new(&world.gateways, index).next().context("there is no reference")?;
    let path = role.path();
    let connected = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(None),
        // CANCEL-SAFE: a half-made connection is dropped.
        connected = Socket::connect(&url, &path, NO_SUBPROTOCOL, is_slow) => connected,
    };
    let socket = match connected {
        Ok(socket) => socket,
        Err(error) => bail!("no connection to {url}{path}: {error}; is it a `lockgate-sim reference`?"),
    };
    count(&world.figures.connects, 1);
    world.figures.connected.add(world.now_us().saturating_sub(began));
    Ok(Some(socket))
}
