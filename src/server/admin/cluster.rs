//! The cluster as operators see it: a part of `/status`, metrics, and a reason not to be ready.

use std::fmt;

use serde::Serialize;

use super::super::Server;
use super::super::transport::Transport;
use super::metrics::single;
use crate::cluster::{Link, Node};
use crate::protocol::{Handler, dispatch};

/// The cluster in `/status`.
#[derive(Serialize)]
struct ClusterStatus<'a> {
    connected: bool,
    node: &'a str,
    nodes: Vec<NodeStatus<'a>>,
    lost_total: u64,
}

/// One node: this one first.
#[derive(Serialize)]
struct NodeStatus<'a> {
    node: &'a str,
    members: usize,
    heard_secs_ago: u64,
}

impl<T: Transport> Server<T> {
    /// The value of `cluster` in `/status`.
    pub(super) fn cluster_status(&self) -> serde_json::Result<String> {
        let Some(node) = &self.node else { return Ok("null".to_owned()) };
        let rosters = || {
            let listeners = self.listeners.iter();
            listeners.filter_map(|l| dispatch!(&l.protocol, handler => handler.roster()))
        };
        let here =
            self.listeners.iter().map(|l| dispatch!(&l.protocol, handler => handler.members_len()));
        let this = NodeStatus {
            node: node.name(),
            members: here.sum(),
            heard_secs_ago: node.silent_ms() / 1_000,
        };
        let others = node.others().map(|(number, name, heard_ms)| NodeStatus {
            node: name,
            members: rosters().map(|roster| roster.len_of(number)).sum(),
            heard_secs_ago: heard_ms / 1_000,
        });
        let nodes = std::iter::once(this).chain(others).collect();
        let lost_total = node.stats().lost_total;
        let connected = is_connected(node);
        serde_json::to_string(&ClusterStatus { connected, node: node.name(), nodes, lost_total })
    }

    /// Why the node's part in the cluster keeps the server from being ready.
    pub(super) fn cluster_reason(&self) -> Option<String> {
        let deaf_ms = self.node.as_ref()?.deaf_ms()?;
        Some(format!("cluster: not heard for {} s\n", deaf_ms / 1_000))
    }

    pub(super) fn write_cluster_metrics(&self, out: &mut String) -> fmt::Result {
        let (Some(node), Some(cluster)) = (&self.node, &self.shared.cluster) else { return Ok(()) };
        let stats = node.stats();
        let metrics = [
            (
                "connected",
                "gauge",
                "Whether this node hears itself through the engine.",
                u64::from(is_connected(node)),
            ),
            ("nodes", "gauge", "Nodes that are there, this one included.", {
                1 + node.others().count() as u64
            }),
            (
                "published_total",
                "counter",
                "Messages published to other nodes.",
                stats.published_total,
            ),
            (
                "received_total",
                "counter",
                "Messages received from other nodes.",
                stats.received_total,
            ),
            (
                "lost_total",
                "counter",
                "Messages of other nodes that were missed.",
                stats.lost_total,
            ),
            (
                "dropped_total",
                "counter",
                "Messages of this node that were dropped before they were published.",
                cluster.outbox.dropped(),
            ),
        ];
        metrics.iter().try_for_each(|(name, kind, help, value)| {
            single(out, &format!("mynah_cluster_{name}"), kind, help, value)
        })
    }
}

fn is_connected(node: &Node) -> bool {
    let is_ready = |link| node.engine().is_ready(link);
    is_ready(Link::Commands) && is_ready(Link::Subscriber) && node.deaf_ms().is_none()
}
