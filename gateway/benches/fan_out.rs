//! One entry from the backbone's feed to all subscribers of its room, in process.
//!
//! `cargo bench -p lockgate-gateway --bench fan_out`

#[path = "../tests/sessions/fake_log.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod fake_log;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use divan::Bencher;
use divan::counter::ItemsCount;
use fake_log::{FakeLog, chain};
use lockgate_gateway::encoding::Encoding;
use lockgate_gateway::room::{Registry, RoomEvent};
use lockgate_proto::ids::{RoomId, Site, Tenant};
use lockgate_runtime::Supervisor;
use tokio::sync::broadcast::{Receiver, Sender};

/// What the references hand out: as much as a small entry's frame.
const FRAME_BYTES: usize = 120;

fn main() {
    divan::main();
}

/// From the feed through the room to the bytes that each subscriber's session would write: framed once, then
/// taken by each. Counted in frames handed out.
#[divan::bench(args = [1, 100])]
fn one_entry_to_subscribers(bencher: Bencher<'_, '_>, subscribers: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    let _inside = runtime.enter();
    let room =
        RoomId { tenant: Tenant::new("home").expect("it is a name"), site: Site::new("plant").expect("it is a name") };
    let log = Arc::new(FakeLog::new(Vec::new()));
    let supervisor = Supervisor::new();
    let (registry, rooms) = Registry::new(log.clone(), supervisor.clone(), Duration::ZERO);
    supervisor.spawn("rooms", |stop| async move {
        registry.run(stop).await;
        Ok(())
    });
    let mut readers: Vec<Receiver<RoomEvent>> = runtime.block_on(async {
        let mut first = rooms.join(&room).await.expect("the rooms are open").events;
        // From here on the room follows its feed; who joins later hears of the next entry first.
        assert!(matches!(first.recv().await.expect("the room stands"), RoomEvent::Standing(_)));
        let mut readers = vec![first];
        for _ in 1..subscribers {
            readers.push(rooms.join(&room).await.expect("the rooms are open").events);
        }
        readers
    });
    let mut head = 0;
    bencher.counter(ItemsCount::new(subscribers)).bench_local(|| {
        head += 1;
        log.tell(chain(1, head..=head));
        runtime.block_on(async {
            for reader in &mut readers {
                let RoomEvent::Batch(batch) = reader.recv().await.expect("the room is open") else {
                    panic!("the log went on")
                };
                divan::black_box(batch.select(Encoding::Protobuf, &room.site, 0, |_| true));
            }
        });
    });
}

/// For comparison: the same bytes through a bare broadcast channel to as many receivers. Nothing is followed,
/// framed or chosen.
#[divan::bench(args = [1, 100])]
fn bare_broadcast(bencher: Bencher<'_, '_>, subscribers: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    let frames = Sender::<Bytes>::new(64);
    let mut readers: Vec<Receiver<Bytes>> = (0..subscribers).map(|_| frames.subscribe()).collect();
    let frame = Bytes::from(vec![7; FRAME_BYTES]);
    bencher.counter(ItemsCount::new(subscribers)).bench_local(|| {
        frames.send(frame.clone()).expect("there are readers");
        runtime.block_on(async {
            for reader in &mut readers {
                divan::black_box(reader.recv().await.expect("the channel is open"));
            }
        });
    });
}

/// For comparison: a frame cloned for each, and no hand-over at all.
#[divan::bench(args = [1, 100])]
fn clones_alone(bencher: Bencher<'_, '_>, subscribers: usize) {
    let frame = Bytes::from(vec![7; FRAME_BYTES]);
    bencher.counter(ItemsCount::new(subscribers)).bench_local(|| {
        for _ in 0..subscribers {
            divan::black_box(divan::black_box(&frame).clone());
        }
    });
}
