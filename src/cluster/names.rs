//! Calls of the engine's scripts about names and the lease, and their answers.

use std::collections::BTreeMap;

use log::debug;

use super::engine::Engine;
use super::engine_types::Link;
use super::scripts::{Claim, Keys, LEASE_MS, NAMES_MAX, ScriptCall};
use crate::conn_id::ConnId;
use crate::limits::NAME_CALLS_MAX;
use crate::protocol::cluster::{
    Channel, Cluster, NameOutcome, NameRequest, NameRequestKind, Verdict,
};
use crate::protocol::nickname::Nickname;

/// The scripts' calls of one node.
#[derive(Debug)]
pub(super) struct NameCalls {
    prefix: String,
    incarnation: u64,
    /// Those of the connection at hand. Each connection has names of its own in the engine, so that
    /// those of members who left meanwhile are free.
    keys: Keys,
    connections: u64,
    next_tag: u64,
    /// By tag.
    calls: BTreeMap<u64, Call>,
    /// A request that did not go with those before it.
    held: Option<NameRequest>,
    /// The lease has been renewed on this connection.
    has_lease: bool,
}

/// What an answer says of this node's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// They are as this node thinks.
    Sure,
    /// The lease had run out: they were free for a while.
    LeaseLost,
    /// The engine could not say.
    Unknown,
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
            prefix: prefix.to_owned(),
            incarnation,
            keys: Keys::new(prefix, incarnation),
            connections: 0,
            next_tag: 0,
            calls: BTreeMap::new(),
            held: None,
            has_lease: false,
        }
    }

    /// Whom notices of this node's losses are for.
    pub(super) fn holder(&self) -> u64 {
        self.incarnation.wrapping_add(self.connections)
    }

    /// A connection begins: all names that were this node's are free.
    pub(super) fn begin(&mut self, engine: &mut Engine, name: &str, cluster: &Cluster) {
        self.renew(engine, name, 0, cluster);
        self.connections += 1;
        self.keys = Keys::new(&self.prefix, self.holder());
        self.renew(engine, name, LEASE_MS, cluster);
    }

    /// Renews the lease for so long; 0 ends it.
    pub(super) fn renew(
        &mut self,
        engine: &mut Engine,
        name: &str,
        lease_ms: u64,
        cluster: &Cluster,
    ) {
        let rooms: Vec<&[u8]> = cluster.rooms().map(|(_, room)| room.as_bytes()).collect();
        let call = self.keys.renew(name, lease_ms, &rooms);
        self.start(engine, &call, Call::Renew);
    }

    /// Asks for what is to be asked, as much as may be under way.
    pub(super) fn call(&mut self, engine: &mut Engine, cluster: &mut Cluster) {
        while engine.is_ready(Link::Commands) && self.calls.len() < NAME_CALLS_MAX {
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
        let (mut claims, mut names) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(request) = next {
            let (id, age_ms) = match request.kind {
                NameRequestKind::Claim { id, age_ms, is_forced }
                    if request.channel == channel && is_forced == forced =>
                {
                    (id, age_ms)
                }
                _ => {
                    self.held = Some(request);
                    break;
                }
            };
            // Whoever asks has parsed it.
            if let Ok(nickname) = Nickname::parse(&request.nick) {
                claims.push(Claim::new(&nickname, age_ms));
                names.push((request.nick, id));
            }
            next = if names.len() < NAMES_MAX { self.next_request(cluster) } else { None };
        }
        let call = self.keys.claim(cluster.channel_name(channel).as_bytes(), forced, &claims);
        self.start(engine, &call, Call::Claim { channel, names });
    }

    fn release(&mut self, engine: &mut Engine, request: &NameRequest, cluster: &Cluster) {
        let room = cluster.channel_name(request.channel).as_bytes();
        let Ok(nickname) = Nickname::parse(&request.nick) else { return };
        let call = self.keys.release(room, &[nickname.folded().as_str()]);
        self.start(engine, &call, Call::Release);
    }

    fn start(&mut self, engine: &mut Engine, script: &ScriptCall, call: Call) {
        let keys: Vec<&[u8]> = script.keys.iter().map(Vec::as_slice).collect();
        let args: Vec<&[u8]> = script.args.iter().map(Vec::as_slice).collect();
        self.next_tag += 1;
        // Its own calls are few enough never to be too many.
        if engine.call(script.script, &keys, &args, self.next_tag) {
            self.calls.insert(self.next_tag, call);
        }
    }

    /// A script has answered.
    pub(super) fn on_answer(
        &mut self,
        tag: u64,
        result: Result<Vec<i64>, String>,
        cluster: &mut Cluster,
    ) -> Standing {
        match (self.calls.remove(&tag), result) {
            (Some(Call::Renew), Ok(answer)) => {
                let was_there = answer.first() == Some(&1);
                let had_lease = std::mem::replace(&mut self.has_lease, true);
                if had_lease && !was_there { Standing::LeaseLost } else { Standing::Sure }
            }
            (Some(Call::Claim { channel, names }), Ok(answer)) => {
                for (at, (nick, id)) in names.into_iter().enumerate() {
                    let is_ours = answer.get(at) == Some(&1);
                    let outcome = if is_ours { NameOutcome::Ours } else { NameOutcome::Older };
                    cluster.settle_name(id, Verdict { channel, nick, outcome });
                }
                Standing::Sure
            }
            (Some(Call::Claim { names, .. }), Err(error)) => {
                debug!("cluster: claims failed: {error}");
                for id in names.into_iter().filter_map(|(_, id)| id) {
                    cluster.give_up_claim(id);
                }
                Standing::Unknown
            }
            (Some(Call::Release), Err(_)) => Standing::Unknown,
            (Some(Call::Renew | Call::Release) | None, _) => Standing::Sure,
        }
    }

    /// The engine cannot be asked any more.
    pub(super) fn give_up(&mut self, cluster: &mut Cluster) {
        self.has_lease = false;
        let calls = std::mem::take(&mut self.calls);
        let claims = calls.into_values().filter_map(|call| match call {
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
