//! A Redis Cluster on this machine: three masters, each with a replica.

use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::redis::Redis;
use crate::wait;

const MASTERS: usize = 3;
const SLOTS: usize = 16_384;

/// Its nodes end with this value.
#[derive(Debug)]
pub struct RedisCluster {
    /// The masters it began with, then their replicas in the same order.
    pub nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts the nodes and joins them.
    pub fn start(folder: &Path) -> Result<RedisCluster> {
        let mut nodes = Vec::new();
        for at in 0..2 * MASTERS {
            // Not the default, a port's number and 10,000, for which there may be no room.
            let bus = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let (bus, appended) = (format!("cluster-port {bus}"), at < MASTERS);
            let appended = if appended { "appendonly yes" } else { "appendonly no" };
            let common = ["cluster-enabled yes", "cluster-node-timeout 2000", "appendfsync always"];
            let settings = [&common[..], &[&bus, appended]].concat();
            nodes.push(Redis::start_with(&folder.join(format!("node-{at}")), &settings)?);
        }
        let cluster = RedisCluster { nodes };
        cluster.join()?;
        cluster.settle()?;
        Ok(cluster)
    }

    fn join(&self) -> Result<()> {
        for (at, node) in self.nodes.iter().enumerate() {
            node.ask(&format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1))?;
            if at < MASTERS {
                let (first, next) = (SLOTS * at / MASTERS, SLOTS * (at + 1) / MASTERS);
                node.ask(&format!("CLUSTER ADDSLOTSRANGE {first} {}", next - 1))?;
            }
        }
        for node in &self.nodes {
            let bus = node.setting("cluster-port").context("a node has a bus")?;
            self.nodes[0].ask(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", node.address().port()))?;
        }
        for (at, replica) in self.nodes.iter().enumerate().skip(MASTERS) {
            let master = self.nodes[at - MASTERS].ask("CLUSTER MYID")?;
            wait::until("the replica knows its master", wait::PATIENCE, || {
                replica.ask(&format!("CLUSTER REPLICATE {master}")).ok()
            })?;
        }
        Ok(())
    }

    /// Waits until every node sees every slot served, and every replica follows.
    pub fn settle(&self) -> Result<()> {
        let all = self.nodes.len();
        for node in &self.nodes {
            wait::until("the cluster is whole", wait::PATIENCE, || {
                let info = node.ask("CLUSTER INFO").ok()?;
                let known = format!("cluster_known_nodes:{all}");
                let whole = info.contains("cluster_state:ok") && info.contains(&known);
                let link = node.info("replication", "master_link_status");
                (whole && link.map_or(true, |link| link == "up")).then_some(())
            })?;
        }
        let replicas = |node: &Redis| node.info("replication", "slave0").ok().filter(|it| it.contains("state=online"));
        wait::until("every master has its replica", wait::PATIENCE, || {
            (self.nodes.iter().filter_map(replicas).count() == MASTERS).then_some(())
        })
    }

    /// Kills all nodes and starts them again; `meanwhile` sees what they left on the disk.
    pub fn restart(&mut self, meanwhile: impl FnOnce(&mut [Redis]) -> Result<()>) -> Result<()> {
        for node in &mut self.nodes {
            node.kill()?;
        }
        meanwhile(&mut self.nodes)?;
        for node in &mut self.nodes {
            node.restart()?;
        }
        self.settle()
    }

    /// Those that are masters now.
    pub fn masters(&self) -> impl Iterator<Item = &Redis> {
        self.nodes.iter().filter(|node| node.info("replication", "role").is_ok_and(|role| role == "master"))
    }

    /// Which master has the slot of a key.
    pub fn owner_of(&self, key: &str) -> Result<usize> {
        let owns = |node: &Redis| {
            let role = node.info("replication", "role");
            role.is_ok_and(|role| role == "master") && node.ask(&format!("EXISTS {key}")).is_ok()
        };
        self.nodes.iter().position(owns).context("a master has the slot")
    }

    /// The URL for gateways.
    pub fn url(&self) -> String {
        let addresses: Vec<String> = self.nodes.iter().take(MASTERS).map(|node| node.address().to_string()).collect();
        format!("redis://{}", addresses.join(","))
    }
}
