//! Calls of the engine's scripts about names and the lease, and their answers.

use std::collections::HashMap;

use log::debug;

use super::engine::{Engine, Script};
use crate::conn_id::ConnId;
use crate::limits::{NAME_CALLS_MAX, NAMES_PER_CALL_MAX};
use crate::protocol::cluster::{
    Channel, Cluster, NameOutcome, NameRequest, NameRequestKind, Verdict,
};
use crate::protocol::nickname::Nickname;

/// The scripts' calls of one node.
#[derive(Debug)]
pub(super) struct NameCalls {
    /// What keys begin with, with its colon.
    prefix: String,
    /// 16 hexadecimal digits.
    incarnation: String,
    next_tag: u64,
    /// By tag.
    calls: HashMap<u64, Call>,
    /// A request that did not go with those before it.
    held: Option<NameRequest>,
    /// The lease has been renewed before.
    has_lease: bool,
}

/// A call whose answer has not come.
#[derive(Debug)]
enum Call {
    Renew,
    Release,
    Claim { channel: Channel, names: Vec<(Box<str>, Option<ConnId>)> },
}

impl NameCalls {
    pub(super) fn new(prefix: &str, incarnation: u64) -> Self {
        NameCalls {
            prefix: format!("{prefix}:"),
            incarnation: format!("{incarnation:016x}"),
            next_tag: 0,
            calls: HashMap::new(),
            held: None,
            has_lease: false,
        }
    }

    fn key(&self, kind: &str, name: &str) -> Vec<u8> {
        format!("{}{kind}:{name}", self.prefix).into_bytes()
    }

    fn nodes_channel(&self) -> Vec<u8> {
        format!("{}nodes", self.prefix).into_bytes()
    }

    /// Renews the lease; 0 ends it.
    pub(super) fn renew(
        &mut self,
        engine: &mut Engine,
        name: &str,
        lease_ms: u64,
        cluster: &Cluster,
    ) {
        let mut keys = vec![
            self.key("lease", &self.incarnation),
            format!("{}nodes", self.prefix).into_bytes(),
            self.key("claims", &self.incarnation),
        ];
        for (_, room) in cluster.rooms() {
            keys.extend([self.key("names", room), self.key("looks", room)]);
        }
        let lease_ms = lease_ms.to_string();
        let args = [&self.incarnation, &self.prefix, name, &lease_ms].map(str::as_bytes);
        self.start(engine, Script::Renew, &keys, &args, Call::Renew);
    }

    /// Asks for what is to be asked, as much as may be under way.
    pub(super) fn call(&mut self, engine: &mut Engine, cluster: &mut Cluster) {
        while self.calls.len() < NAME_CALLS_MAX {
            let Some(first) = self.next_request(cluster) else { break };
            match first.kind {
                NameRequestKind::Claim { is_forced, .. } => {
                    self.claim(engine, first, is_forced, cluster);
                }
                NameRequestKind::Release => self.release(engine, &first, cluster),
            }
        }
    }

    fn next_request(&mut self, cluster: &mut Cluster) -> Option<NameRequest> {
        self.held.take().or_else(|| cluster.next_name_request())
    }

    /// Claims a name, and those behind it of the same room.
    fn claim(
        &mut self,
        engine: &mut Engine,
        first: NameRequest,
        forced: bool,
        cluster: &mut Cluster,
    ) {
        let channel = first.channel;
        let room = cluster.channel_name(channel).to_owned();
        let keys = [
            self.key("lease", &self.incarnation),
            self.key("names", &room),
            self.key("looks", &room),
            self.key("claims", &self.incarnation),
        ];
        let nodes = self.nodes_channel();
        let force: &[u8] = if forced { b"1" } else { b"0" };
        let mut args: Vec<Vec<u8>> = vec![
            self.incarnation.clone().into_bytes(),
            self.prefix.clone().into_bytes(),
            room.into_bytes(),
            nodes,
            force.to_vec(),
        ];
        let mut names = Vec::new();
        let mut next = Some(first);
        while let Some(request) = next {
            let NameRequestKind::Claim { id, age_ms, is_forced } = request.kind else {
                self.held = Some(request);
                break;
            };
            if request.channel != channel || is_forced != forced {
                self.held = Some(request);
                break;
            }
            // Members have valid nicknames.
            if let Ok(nickname) = Nickname::parse(&request.nick) {
                args.push(nickname.folded().as_str().into());
                args.push(age_ms.to_string().into_bytes());
                args.push(nickname.scripts().to_text().into_bytes());
                let mut skeletons = nickname.skeletons();
                args.push(skeletons.next().unwrap_or_default().into());
                args.push(skeletons.next().unwrap_or_default().into());
                drop(skeletons);
                names.push((request.nick, id));
            }
            let is_full = names.len() == NAMES_PER_CALL_MAX;
            next = if is_full { None } else { self.next_request(cluster) };
        }
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        self.start(engine, Script::Claim, &keys, &args, Call::Claim { channel, names });
    }

    fn release(&mut self, engine: &mut Engine, request: &NameRequest, cluster: &Cluster) {
        let room = cluster.channel_name(request.channel);
        let Ok(nickname) = Nickname::parse(&request.nick) else { return };
        let keys = [
            self.key("names", room),
            self.key("looks", room),
            self.key("claims", &self.incarnation),
        ];
        let folded = nickname.folded().as_str();
        let args = [&self.incarnation, room, folded].map(str::as_bytes);
        self.start(engine, Script::Release, &keys, &args, Call::Release);
    }

    fn start(
        &mut self,
        engine: &mut Engine,
        script: Script,
        keys: &[Vec<u8>],
        args: &[&[u8]],
        call: Call,
    ) {
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let tag = self.next_tag;
        self.next_tag += 1;
        // Where it cannot be called now, the link is about to be lost, and all is given up.
        engine.call(script, &keys, args, tag);
        self.calls.insert(tag, call);
    }

    /// A script has answered. Returns whether all names are to be claimed anew: the node's lease had
    /// run out, and its names were free.
    pub(super) fn on_answer(
        &mut self,
        tag: u64,
        result: Result<Vec<i64>, String>,
        cluster: &mut Cluster,
    ) -> bool {
        match (self.calls.remove(&tag), result) {
            (Some(Call::Renew), Ok(answer)) => {
                let was_there = answer.first() == Some(&1);
                let had_lease = std::mem::replace(&mut self.has_lease, true);
                had_lease && !was_there
            }
            (Some(Call::Claim { channel, names }), Ok(answer)) => {
                for (at, (nick, id)) in names.into_iter().enumerate() {
                    let is_ours = answer.get(at) == Some(&1);
                    let outcome = if is_ours { NameOutcome::Ours } else { NameOutcome::Older };
                    cluster.settle_name(id, Verdict { channel, nick, outcome });
                }
                false
            }
            (Some(Call::Claim { names, .. }), Err(error)) => {
                debug!("cluster: claims failed: {error}");
                for id in names.into_iter().filter_map(|(_, id)| id) {
                    cluster.give_up_claim(id);
                }
                false
            }
            (Some(Call::Renew | Call::Release) | None, _) => false,
        }
    }

    /// The engine cannot be asked any more.
    pub(super) fn give_up(&mut self, cluster: &mut Cluster) {
        self.has_lease = false;
        let claims = self.calls.drain().filter_map(|(_, call)| match call {
            Call::Claim { names, .. } => Some(names),
            Call::Renew | Call::Release => None,
        });
        let waiting: Vec<ConnId> = claims.flatten().filter_map(|(_, id)| id).collect();
        waiting.into_iter().for_each(|id| cluster.give_up_claim(id));
        while let Some(request) = self.next_request(cluster) {
            if let NameRequestKind::Claim { id: Some(id), .. } = request.kind {
                cluster.give_up_claim(id);
            }
        }
    }
}
