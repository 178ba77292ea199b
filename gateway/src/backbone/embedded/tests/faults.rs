//! Full disks, damaged files, foreign files, locked folders.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use lockgate_proto::ids::{AgentId, AgentName, DeviceName, RoomId, SessionId, Site, Tenant};
use lockgate_proto::ledger::Ledger;
use lockgate_proto::seq::Epoch;
use lockgate_proto::time::UnixMicros;
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::{options, refused};
use crate::backbone::conformance::Keep;
use crate::backbone::embedded::writer::Request;
use crate::backbone::embedded::{EmbeddedBackbone, OpenError};
use crate::backbone::{Backbone, BackboneError, EntryKind, Feed, Health, NewEntry, Opened, ReadLimit, Step, Stepped};

fn open(folder: &Path) -> Result<EmbeddedBackbone, OpenError> {
    EmbeddedBackbone::open(options(folder, Keep::default(), &Arc::new(AtomicI64::new(0))))
}

fn agent() -> AgentId {
    let room = RoomId { tenant: Tenant::new("acme").unwrap(), site: Site::new("plant").unwrap() };
    AgentId { room, agent: AgentName::new("pi").unwrap() }
}

async fn opened(backbone: &EmbeddedBackbone, session: u64) -> Arc<Ledger> {
    match backbone.open_session(&agent(), SessionId(session), &[Epoch(session)]).await.unwrap() {
        Opened::Granted(ledger) => Arc::from(ledger),
        Opened::Superseded => panic!("refused"),
    }
}

/// A step of `count` large entries.
fn large_step(ledger: &Arc<Ledger>, session: u64, n: u64, count: usize) -> Step {
    let entry = NewEntry {
        received_at: UnixMicros(n.cast_signed()),
        origin: None,
        kind: EntryKind::Gap,
        device: Some(DeviceName::new("pump").unwrap()),
        body: vec![7; 20_000].into(),
        shadow: Vec::new(),
    };
    Step { session: SessionId(session), n, ledger: Arc::clone(ledger), entries: vec![entry; count].into() }
}

async fn tamper(backbone: &EmbeddedBackbone, sql: &'static str) {
    let (done, told) = oneshot::channel();
    let tamper = Box::new(move |store: &Connection| store.execute_batch(sql).unwrap());
    backbone.ask(Request::Tamper(tamper, done), 0).await.unwrap();
    told.await.unwrap();
}

async fn entry_count(backbone: &EmbeddedBackbone) -> usize {
    let all = ReadLimit { entries_max: 100_000, bytes_max: usize::MAX };
    backbone.read_last(&agent().room, all).await.unwrap().len()
}

#[tokio::test]
async fn a_full_disk_fails_the_step_as_a_whole_and_room_lets_it_pass() {
    let folder = TempDir::new().unwrap();
    let backbone = open(folder.path()).unwrap();
    let ledger = opened(&backbone, 1).await;
    let mut feed: Feed = backbone.subscribe(&agent().room).await.unwrap();
    tamper(&backbone, "PRAGMA max_page_count = 120").await;
    let mut n = 0;
    let failed = loop {
        n += 1;
        match backbone.step(&agent(), &large_step(&ledger, 1, n, 5)).await {
            Ok(Stepped::Done) => {}
            other => break other,
        }
    };
    let Err(BackboneError::Unavailable { reason }) = failed else { panic!("{failed:?}") };
    assert!(reason.contains("no room left"), "{reason}");
    assert!(matches!(*backbone.health().borrow(), Health::Down { .. }));
    let stored = usize::try_from(n - 1).unwrap() * 5;
    assert!(stored > 0);
    assert_eq!(entry_count(&backbone).await, stored);
    tamper(&backbone, "PRAGMA max_page_count = 100000").await;
    assert_eq!(backbone.step(&agent(), &large_step(&ledger, 1, n, 5)).await, Ok(Stepped::Done));
    assert_eq!(*backbone.health().borrow(), Health::Up);
    assert_eq!(entry_count(&backbone).await, stored + 5);
    let mut published = 0;
    while let Some(crate::backbone::FeedItem::Entries(batch)) = feed.try_next() {
        published += batch.len();
    }
    assert_eq!(published, stored + 5);
}

#[tokio::test]
async fn two_gateways_do_not_share_a_folder() {
    let folder = TempDir::new().unwrap();
    let first = open(folder.path()).unwrap();
    assert!(matches!(refused(open(folder.path())), OpenError::InUse { .. }));
    first.close().await;
    let second = open(folder.path()).unwrap();
    assert!(first.subscribe(&agent().room).await.is_err());
    assert!(second.subscribe(&agent().room).await.is_ok());
}

#[tokio::test]
async fn nothing_is_acknowledged_into_a_file_that_was_moved_away() {
    let folder = TempDir::new().unwrap();
    let backbone = open(folder.path()).unwrap();
    let ledger = opened(&backbone, 1).await;
    let (path, aside) = (folder.path().join("gateway.db"), folder.path().join("aside.db"));
    fs::rename(&path, &aside).unwrap();
    let failed = backbone.step(&agent(), &large_step(&ledger, 1, 1, 1)).await;
    assert!(matches!(&failed, Err(failure) if failure.to_string().contains("moved or replaced")), "{failed:?}");
    fs::write(&path, b"another").unwrap();
    assert!(backbone.step(&agent(), &large_step(&ledger, 1, 1, 1)).await.is_err());
    fs::rename(&aside, &path).unwrap();
    assert_eq!(backbone.step(&agent(), &large_step(&ledger, 1, 1, 1)).await, Ok(Stepped::Done));
}

#[tokio::test]
async fn a_store_that_was_full_is_found_well_without_anyones_asking() {
    let folder = TempDir::new().unwrap();
    let backbone = open(folder.path()).unwrap();
    let ledger = opened(&backbone, 1).await;
    tamper(&backbone, "PRAGMA max_page_count = 30").await;
    assert!(backbone.step(&agent(), &large_step(&ledger, 1, 1, 50)).await.is_err());
    let mut health = backbone.health();
    tamper(&backbone, "PRAGMA max_page_count = 100000").await;
    health.wait_for(|health| *health == Health::Up).await.unwrap();
}

#[tokio::test]
async fn refused_steps_do_not_make_a_full_disk_look_well() {
    let folder = TempDir::new().unwrap();
    let backbone = open(folder.path()).unwrap();
    let ledger = opened(&backbone, 1).await;
    tamper(&backbone, "PRAGMA max_page_count = 30").await;
    assert!(backbone.step(&agent(), &large_step(&ledger, 1, 1, 50)).await.is_err());
    assert_eq!(backbone.step(&agent(), &large_step(&ledger, 7, 1, 1)).await, Ok(Stepped::Refused));
    assert!(matches!(*backbone.health().borrow(), Health::Down { .. }));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("gateway.db");
    let garbage = vec![b'x'; 10_000];
    fs::write(&path, &garbage).unwrap();
    let refused = refused(open(folder.path()));
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused:?}");
    assert!(refused.to_string().contains("put back a copy"), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), garbage);
}

#[tokio::test]
async fn a_database_with_damaged_pages_is_refused() {
    let folder = TempDir::new().unwrap();
    let backbone = open(folder.path()).unwrap();
    let ledger = opened(&backbone, 1).await;
    for n in 1..=20 {
        backbone.step(&agent(), &large_step(&ledger, 1, n, 1)).await.unwrap();
    }
    backbone.close().await;
    let path = folder.path().join("gateway.db");
    let mut bytes = fs::read(&path).unwrap();
    // All but the first page: the header still says that all is well.
    bytes[4_096..].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let refused = refused(open(folder.path()));
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused:?}");
}

#[tokio::test]
async fn damage_that_shows_only_later_is_told_as_damage() {
    let folder = TempDir::new().unwrap();
    let backbone = open(folder.path()).unwrap();
    opened(&backbone, 1).await;
    tamper(&backbone, "UPDATE ledgers SET ledger = x'ffff'").await;
    let refused = backbone.open_session(&agent(), SessionId(2), &[Epoch(1)]).await;
    let Err(failure) = refused else { panic!("{refused:?}") };
    assert!(!failure.may_retry(), "{failure}");
    assert!(matches!(backbone.ledgers(&agent().room).await, Err(BackboneError::Damaged { .. })));
}

#[tokio::test]
async fn a_newer_file_is_refused_with_both_versions() {
    let folder = TempDir::new().unwrap();
    let backbone = open(folder.path()).unwrap();
    tamper(&backbone, "PRAGMA user_version = 99").await;
    backbone.close().await;
    let refused = refused(open(folder.path())).to_string();
    assert!(refused.contains("99") && refused.contains("newer release"), "{refused}");
}

#[tokio::test]
async fn a_database_of_another_program_is_refused() {
    let folder = TempDir::new().unwrap();
    let other = Connection::open(folder.path().join("gateway.db")).unwrap();
    other.execute_batch("PRAGMA application_id = 7; CREATE TABLE mine (x)").unwrap();
    drop(other);
    assert!(matches!(refused(open(folder.path())), OpenError::Foreign { found: 7, .. }));
}

#[tokio::test]
async fn the_writers_end_is_seen() {
    let folder = TempDir::new().unwrap();
    let backbone = open(folder.path()).unwrap();
    let other = backbone.clone();
    let ((), ()) = tokio::join!(backbone.ended(), other.close());
    assert!(backbone.step(&agent(), &large_step(&Arc::default(), 1, 1, 1)).await.is_err());
}
