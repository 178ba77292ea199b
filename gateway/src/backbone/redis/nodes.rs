//! The nodes on which rooms lie: one Redis, or the masters of a cluster, each with its own connections and feeds.
//!
//! All keys of a room are in one slot, so a room is on one node. Which one is told by the cluster's map; when it
//! is wrong, the node that was asked says so (MOVED, ASK), and is followed. What can't be followed at once
//! (a room on its way to another node, a cluster without a master for it) is unavailable: asked again, it goes on.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use lockgate_runtime::Supervisor;
use redis::{Cmd, FromRedisValue, RedisResult, Value};
use tokio::sync::{Mutex, broadcast, mpsc, oneshot};
use tokio::time::Instant;
use tracing::info;

use super::connector::{ConnectError, Connector, Settings};
use super::keys::RoomKeys;
use super::lane::{Call, Lane};
use super::library::Library;
use super::line::{HealthBoard, Line, meaning, read};
use super::live::{self, Listen, Live, NoFeed};
use super::slots_logic::{NodeName, Redirect, SLOTS, SlotRange, redirect};
use crate::backbone::feed::FeedItem;
use crate::backbone::{BackboneError, CommandFeedItem};

/// More connections than this for writing gain nothing: Redis does one thing at a time.
const LANES: usize = 4;

/// A question is passed on so often; while a cluster is being changed, once or twice.
const REDIRECTS_MAX: usize = 5;

/// A map that is so new is not asked for again.
const MAP_STANDS: Duration = Duration::from_millis(100);

/// One Redis that takes writes.
pub(super) struct Node {
    pub(super) name: NodeName,
    pub(super) connector: Arc<Connector>,
    pub(super) health: HealthBoard,
    pub(super) reader: Arc<Line>,
    lanes: Vec<Lane>,
    live: mpsc::Sender<Listen>,
}

/// Which node has which slot.
pub(super) struct Map {
    pub(super) nodes: Vec<Arc<Node>>,
    /// Index of the node of each slot. `None`: one node has all, or is taken to.
    slots: Option<Vec<Option<usize>>>,
}

/// See the module.
pub(super) struct Nodes {
    settings: Arc<Settings>,
    supervisor: Supervisor,
    health: HealthBoard,
    /// Held for a look.
    map: RwLock<Arc<Map>>,
    /// When the map was last asked for; held meanwhile.
    asked: Mutex<Option<Instant>>,
}

impl Nodes {
    /// Finds out what there is. What can't be reached may come later; what is not fit for use is an error.
    pub(super) async fn open(
        settings: Settings,
        health: HealthBoard,
        supervisor: &Supervisor,
    ) -> Result<Nodes, ConnectError> {
        let settings = Arc::new(settings);
        let first = Node::new(settings.seeds[0].clone(), &settings, &health, supervisor)?;
        let map = RwLock::new(Arc::new(Map { nodes: vec![first], slots: None }));
        let nodes = Nodes { settings, supervisor: supervisor.clone(), health, map, asked: Mutex::default() };
        match nodes.ask_for_map(nodes.settings.seeds.clone()).await {
            Ok(Some(ranges)) => nodes.take(&ranges)?,
            Ok(None) | Err(ConnectError::Unreachable { .. }) => {}
            Err(error) => return Err(error),
        }
        for node in &nodes.map().nodes {
            match node.connector.connect().await {
                Ok(_) => {}
                Err(error @ ConnectError::Unreachable { .. }) => node.health.down(&error.into()),
                Err(error) => return Err(error),
            }
        }
        Ok(nodes)
    }

    pub(super) fn map(&self) -> Arc<Map> {
        Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn library(&self) -> &Library {
        &self.settings.library
    }

    /// Makes the functions known again to the node of a room.
    pub(super) async fn load_functions(&self, keys: &RoomKeys) -> Result<(), BackboneError> {
        self.find(keys, None)?.0.reader.load_functions().await
    }

    /// Has a write done and waits until it is as durable as it is to be. `lane`: the same for one writer's writes.
    pub(super) async fn write(&self, keys: &RoomKeys, lane: u64, call: Cmd) -> Result<Value, BackboneError> {
        let mut to = None;
        for _ in 0..REDIRECTS_MAX {
            let (node, asking) = self.find(keys, to.take())?;
            let lane = &node.lanes[usize::try_from(lane % LANES as u64).unwrap_or(0)];
            match lane.write(Call { command: call.clone(), asking }).await {
                Ok(answer) => match self.elsewhere(&node, &answer).await {
                    Some(redirect) => to = Some(redirect),
                    None => return read(answer),
                },
                Err(error) => return Err(self.lost(error).await),
            }
        }
        Err(restless())
    }

    /// Asks a room's node one thing that may be asked twice.
    pub(super) async fn ask_one<T: FromRedisValue>(&self, keys: &RoomKeys, command: Cmd) -> Result<T, BackboneError> {
        read(self.follow(keys, &command, None).await?)
    }

    /// As [`Nodes::ask_one`], of many things in one round trip.
    pub(super) async fn ask<T: FromRedisValue>(
        &self,
        keys: &RoomKeys,
        commands: &[Cmd],
    ) -> Result<Vec<T>, BackboneError> {
        let (node, _) = self.find(keys, None)?;
        let asked = node.reader.ask(commands.iter().map(Call::plain)).await;
        let answers = match asked {
            Ok(answers) => answers,
            Err(error) => return Err(self.lost(error).await),
        };
        let mut read_answers = Vec::with_capacity(commands.len());
        for (command, answer) in commands.iter().zip(answers) {
            let answer = match self.elsewhere(&node, &answer).await {
                Some(redirect) => self.follow(keys, command, Some(redirect)).await?,
                None => answer,
            };
            read_answers.push(read(answer)?);
        }
        Ok(read_answers)
    }

    /// The answer to a command, wherever the cluster has the room.
    pub(super) async fn follow(
        &self,
        keys: &RoomKeys,
        command: &Cmd,
        mut to: Option<Redirect>,
    ) -> Result<RedisResult<Value>, BackboneError> {
        for _ in 0..REDIRECTS_MAX {
            let (node, asking) = self.find(keys, to.take())?;
            match node.reader.ask(std::iter::once(Call { command: command.clone(), asking })).await {
                Ok(mut answers) => {
                    let answer = answers.pop().unwrap_or(Ok(Value::Nil));
                    match self.elsewhere(&node, &answer).await {
                        Some(redirect) => to = Some(redirect),
                        None => return Ok(answer),
                    }
                }
                Err(error) => return Err(self.lost(error).await),
            }
        }
        Err(restless())
    }

    /// What a room says from now on.
    pub(super) async fn listen(&self, keys: &RoomKeys) -> Result<broadcast::Receiver<FeedItem>, BackboneError> {
        self.ask_to_listen(keys, |reply| Listen::ToEntries { keys: keys.clone(), reply }).await
    }

    /// What changes in a room's books from now on.
    pub(super) async fn listen_to_commands(
        &self,
        keys: &RoomKeys,
    ) -> Result<broadcast::Receiver<CommandFeedItem>, BackboneError> {
        self.ask_to_listen(keys, |reply| Listen::ToCommands { keys: keys.clone(), reply }).await
    }

    async fn ask_to_listen<T>(
        &self,
        keys: &RoomKeys,
        listen: impl Fn(oneshot::Sender<Result<T, NoFeed>>) -> Listen,
    ) -> Result<T, BackboneError> {
        let stopped = || BackboneError::Unavailable { reason: "the gateway stops".to_owned() };
        let mut to = None;
        for _ in 0..REDIRECTS_MAX {
            let (node, _) = self.find(keys, to.take())?;
            let (reply, answer) = oneshot::channel();
            node.live.send(listen(reply)).await.map_err(|_| stopped())?;
            match answer.await.map_err(|_| stopped())? {
                Ok(items) => return Ok(items),
                Err(NoFeed::Backbone(error)) => return Err(self.lost(error).await),
                Err(NoFeed::Refused(error)) => match self.elsewhere(&node, &Err(error.clone())).await {
                    Some(redirect) => to = Some(redirect),
                    None => return Err(meaning(&error)),
                },
            }
        }
        Err(restless())
    }

    fn find(&self, keys: &RoomKeys, to: Option<Redirect>) -> Result<(Arc<Node>, bool), BackboneError> {
        let map = self.map();
        let Some(Redirect { to, asking }) = to else { return Ok((map.node_of(keys)?, false)) };
        let node = map.nodes.iter().find(|node| node.name == to).cloned();
        let unknown = || BackboneError::Unavailable { reason: format!("{to} is no master of the cluster yet") };
        Ok((node.ok_or_else(unknown)?, asking))
    }

    /// Where else to ask, if an answer says so; the map knows that node then, if the cluster does.
    async fn elsewhere(&self, node: &Node, answer: &RedisResult<Value>) -> Option<Redirect> {
        let redirect = redirect(answer.as_ref().err()?, &node.name)?;
        let known = self.map().nodes.iter().any(|node| node.name == redirect.to);
        if !redirect.asking || !known {
            self.refresh().await;
        }
        Some(redirect)
    }

    /// Somebody else may have what a node had that has gone.
    async fn lost(&self, error: BackboneError) -> BackboneError {
        if error.may_retry() && self.map().slots.is_some() {
            self.refresh().await;
        }
        error
    }

    /// Asks for the cluster's map, unless that has just been done.
    pub(super) async fn refresh(&self) {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|at| at.elapsed() < MAP_STANDS) {
            return;
        }
        let mut names: Vec<NodeName> = self.map().nodes.iter().map(|node| node.name.clone()).collect();
        names.extend(self.settings.seeds.iter().filter(|seed| !names.contains(seed)).cloned().collect::<Vec<_>>());
        // One that can't be had leaves the old one, whose nodes say themselves what is wrong.
        if let Ok(Some(ranges)) = self.ask_for_map(names).await {
            drop(self.take(&ranges));
        }
        *asked = Some(Instant::now());
    }

    /// The map of whoever is the first to have one. `None`: there is no cluster.
    async fn ask_for_map(&self, names: Vec<NodeName>) -> Result<Option<Vec<SlotRange>>, ConnectError> {
        let several = names.len() > 1;
        let ask = |name: NodeName| async move { Connector::new(&self.settings, name)?.slots().await };
        let mut answers: FuturesUnordered<_> = names.into_iter().map(ask).collect();
        let mut failure = None;
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(None) if several => return Err(ConnectError::NoCluster),
                Err(error @ ConnectError::Unreachable { .. }) => failure = Some(error),
                answer => return answer,
            }
        }
        failure.map_or(Ok(None), Err)
    }

    /// Takes over a map; who is in it already stays as it is.
    fn take(&self, ranges: &[SlotRange]) -> Result<(), ConnectError> {
        let old = self.map();
        let mut masters = BTreeMap::new();
        let mut map = Map { nodes: Vec::new(), slots: None };
        let mut slots = vec![None; usize::from(SLOTS)];
        for range in ranges {
            let at = if let Some(at) = masters.get(&range.master) {
                *at
            } else {
                let known = old.nodes.iter().find(|node| node.name == range.master).cloned();
                let new = || Node::new(range.master.clone(), &self.settings, &self.health, &self.supervisor);
                map.nodes.push(known.map_or_else(new, Ok)?);
                masters.insert(range.master.clone(), map.nodes.len() - 1);
                map.nodes.len() - 1
            };
            slots[usize::from(range.first)..=usize::from(range.last)].fill(Some(at));
        }
        if map.nodes.is_empty() {
            return Ok(());
        }
        for gone in old.nodes.iter().filter(|node| !masters.contains_key(&node.name)) {
            info!(node = %gone.name, "A node is no master of the cluster any more.");
            gone.health.forget();
        }
        map.slots = Some(slots);
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
        Ok(())
    }
}

impl Map {
    fn node_of(&self, keys: &RoomKeys) -> Result<Arc<Node>, BackboneError> {
        let at = match &self.slots {
            None => Some(0),
            Some(slots) => slots.get(usize::from(keys.slot())).copied().flatten(),
        };
        let nowhere = || BackboneError::Unavailable { reason: "no node of the cluster has the room".to_owned() };
        at.and_then(|at| self.nodes.get(at)).cloned().ok_or_else(nowhere)
    }

    /// Whether a node has a slot.
    pub(super) fn has(&self, node: &Node, slot: u16) -> bool {
        let at = |slots: &Vec<Option<usize>>| slots.get(usize::from(slot)).copied().flatten();
        match &self.slots {
            None => true,
            Some(slots) => at(slots).is_some_and(|at| self.nodes[at].name == node.name),
        }
    }
}

impl Node {
    fn new(
        name: NodeName,
        settings: &Arc<Settings>,
        board: &HealthBoard,
        supervisor: &Supervisor,
    ) -> Result<Arc<Node>, ConnectError> {
        let connector = Arc::new(Connector::new(settings, name.clone())?);
        let health = board.of_node(&name);
        let line = || Line::new(Arc::clone(&connector), health.clone());
        let reader = Arc::new(line());
        let lanes = (0..LANES).map(|_| Lane::new(line(), health.clone())).collect();
        let (live, requests) = mpsc::channel(live::REQUESTS_MAX);
        let feeds = Live::new(Arc::clone(&connector), Arc::clone(&reader), requests);
        supervisor.spawn("backbone live", |stop| async move {
            feeds.run(stop).await;
            Ok(())
        });
        Ok(Arc::new(Node { name, connector, health, reader, lanes, live }))
    }
}

fn restless() -> BackboneError {
    BackboneError::Unavailable { reason: "the cluster's nodes send us from one to the other".to_owned() }
}
