//! Calls of the engine's scripts about names and the lease, and their answers.

use std::collections::{BTreeMap, VecDeque};

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

/// Most former connections whose leases are ended. Attempts pause longer each time, so that the lease
/// of one before these has run out.
const FORMER_MAX: usize = 16;

/// The scripts' calls of one node.
#[derive(Debug)]
pub(super) struct NameCalls {
    prefix: String,
    incarnation: u64,
    /// Those of the connection at hand. Each connection has names of its own in the engine, so that
    /// those of members who left meanwhile are free.
    keys: Keys,
    connections: u64,
    /// Holders of former connections: while the engine may have a lease of one, members' names are
    /// somebody else's.
    former: VecDeque<Former>,
    next_tag: u64,
    /// By tag.
    calls: BTreeMap<u64, Call>,
    /// A request that did not go with those before it.
    held: Option<NameRequest>,
    /// Names may be this node's in the engine that no member has: it has not released them.
    has_unreleased: bool,
    /// A renewal of this holder has been answered: a lease that is not there from then on was missing
    /// while names may have been claimed.
    expects_lease: bool,
}

/// Standing of this node's names after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// They are as this node thinks.
    Sure,
    /// The lease had run out: they were free for a while.
    LeaseLost,
    /// The engine could not say.
    Unknown,
}

/// The holder of a former connection.
#[derive(Debug)]
struct Former {
    holder: u64,
    /// The engine of the connection at hand has ended its lease. That of the next may not have heard of
    /// it: it was a replica.
    is_ended: bool,
}

/// A call whose answer has not come.
#[derive(Debug)]
enum Call {
    Renew { holder: u64 },
    End { holder: u64 },
    Release,
    Claim { holder: u64, channel: Channel, names: Vec<(Box<str>, Option<ConnId>)> },
}

/// Claims that go together.
#[derive(Default)]
struct ClaimBatch {
    claims: Vec<Claim>,
    names: Vec<(Box<str>, Option<ConnId>)>,
    is_forced: bool,
}

impl ClaimBatch {
    /// Whether a claim may go with them.
    fn takes(&self, is_forced: bool) -> bool {
        self.claims.is_empty() || self.is_forced == is_forced
    }
}

impl NameCalls {
    pub(super) fn new(prefix: &str, incarnation: u64) -> Self {
        NameCalls {
            prefix: prefix.to_owned(),
            incarnation,
            keys: Keys::new(prefix, incarnation),
            connections: 0,
            former: VecDeque::new(),
            next_tag: 0,
            calls: BTreeMap::new(),
            held: None,
            has_unreleased: false,
            expects_lease: false,
        }
    }

    /// The holder that notices of this node's losses name.
    pub(super) fn holder(&self) -> u64 {
        self.incarnation.wrapping_add(self.connections)
    }

    /// A connection begins, or a room has closed: all names that were this node's are free.
    pub(super) fn begin(&mut self, engine: &mut Engine, name: &str, cluster: &Cluster) {
        if self.former.len() == FORMER_MAX {
            self.former.pop_front();
        }
        self.former.push_back(Former { holder: self.holder(), is_ended: false });
        self.former.iter_mut().for_each(|former| former.is_ended = false);
        self.connections += 1;
        (self.expects_lease, self.has_unreleased) = (false, false);
        self.keys = Keys::new(&self.prefix, self.holder());
        self.renew(engine, name, LEASE_MS, cluster);
    }

    /// Begins anew where names may have been left behind.
    pub(super) fn release_left_over(&mut self, engine: &mut Engine, name: &str, cluster: &Cluster) {
        if self.has_unreleased && engine.is_ready(Link::Commands) {
            self.begin(engine, name, cluster);
        }
    }

    /// Ends the leases of former connections, which the engine may have failed to do.
    fn end_former(&mut self, engine: &mut Engine, name: &str) {
        for at in 0..self.former.len() {
            let Former { holder, is_ended } = self.former[at];
            let is_asked =
                |call: &Call| matches!(call, Call::End { holder: asked } if *asked == holder);
            if !is_ended && !self.calls.values().any(is_asked) {
                let call = Keys::new(&self.prefix, holder).renew(name, 0, &[]);
                self.start(engine, &call, Call::End { holder });
            }
        }
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
        self.start(engine, &call, Call::Renew { holder: self.holder() });
        self.end_former(engine, name);
    }

    /// Asks for what is to be asked, as much as may be under way.
    pub(super) fn call(&mut self, engine: &mut Engine, name: &str, cluster: &mut Cluster) {
        while engine.is_ready(Link::Commands) && self.calls.len() < NAME_CALLS_MAX {
            let Some(first) = self.next_request(cluster) else { break };
            self.ask(engine, name, first, cluster);
        }
    }

    /// Asks for what can go together: requests of one room, releases before claims. A release that so
    /// overtakes the claim of its name is made up for: a name that is granted and that no member has is
    /// given back ([`NameOutcome::Ours`]).
    fn ask(&mut self, engine: &mut Engine, name: &str, first: NameRequest, cluster: &mut Cluster) {
        let channel = first.channel;
        let (mut releases, mut batch) = (Vec::new(), ClaimBatch::default());
        let mut next = Some(first);
        while let Some(request) = next {
            // Whoever asks has parsed it.
            let Ok(nickname) = Nickname::parse(&request.nick) else {
                next = self.next_request(cluster);
                continue;
            };
            let goes_with = request.channel == channel
                && match request.kind {
                    NameRequestKind::Release => true,
                    NameRequestKind::Claim { is_forced, .. } => batch.takes(is_forced),
                };
            if !goes_with {
                self.held = Some(request);
                break;
            }
            match request.kind {
                NameRequestKind::Release => releases.push(nickname.folded().as_str().to_owned()),
                NameRequestKind::Claim { id, age_ms, is_forced } => {
                    batch.is_forced = is_forced;
                    batch.claims.push(Claim::new(&nickname, age_ms));
                    batch.names.push((request.nick, id));
                }
            }
            let is_full = releases.len() == NAMES_MAX || batch.names.len() == NAMES_MAX;
            next = if is_full { None } else { self.next_request(cluster) };
        }
        let room = cluster.channel_name(channel).as_bytes();
        if !releases.is_empty() {
            let folded: Vec<&str> = releases.iter().map(String::as_str).collect();
            let call = self.keys.release(room, &folded);
            self.start(engine, &call, Call::Release);
        }
        let ClaimBatch { claims, names, is_forced } = batch;
        if !claims.is_empty() {
            self.end_former(engine, name);
            let call = self.keys.claim(room, is_forced, &claims);
            let holder = self.holder();
            self.start(engine, &call, Call::Claim { holder, channel, names });
        }
    }

    /// The next request, but for those of rooms that have closed: nobody would release their names.
    fn next_request(&mut self, cluster: &mut Cluster) -> Option<NameRequest> {
        loop {
            let request = self.held.take().or_else(|| cluster.next_name_request())?;
            if cluster.is_open(request.channel) {
                return Some(request);
            }
            if let NameRequestKind::Claim { id: Some(id), .. } = request.kind {
                cluster.give_up_claim(id);
            }
        }
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
            (Some(Call::Renew { holder }), result) if holder == self.holder() => {
                let is_expected = std::mem::replace(&mut self.expects_lease, true);
                let is_missing = result.is_ok_and(|answer| answer.first() != Some(&1));
                if is_expected && is_missing { Standing::LeaseLost } else { Standing::Sure }
            }
            (Some(Call::End { holder }), Ok(_)) => {
                let ended = self.former.iter_mut().filter(|former| former.holder == holder);
                ended.for_each(|former| former.is_ended = true);
                Standing::Sure
            }
            (Some(Call::Claim { holder, channel, names }), Ok(answer)) => {
                for (at, (nick, id)) in names.into_iter().enumerate() {
                    let is_ours = answer.get(at) == Some(&1);
                    let outcome = if is_ours { NameOutcome::Ours } else { NameOutcome::Older };
                    cluster.settle_name(id, Verdict { channel, nick, outcome });
                }
                // What was granted before all names were released is to be claimed once more.
                if holder == self.holder() { Standing::Sure } else { Standing::Unknown }
            }
            (Some(Call::Claim { names, .. }), Err(error)) => {
                debug!("cluster: claims failed: {error}");
                for id in names.into_iter().filter_map(|(_, id)| id) {
                    cluster.give_up_claim(id);
                }
                Standing::Unknown
            }
            (Some(Call::Release), Err(_)) => {
                self.has_unreleased = true;
                Standing::Unknown
            }
            (Some(Call::Renew { .. } | Call::End { .. } | Call::Release) | None, _) => {
                Standing::Sure
            }
        }
    }

    /// The engine cannot be asked any more.
    pub(super) fn give_up(&mut self, cluster: &mut Cluster) {
        let calls = std::mem::take(&mut self.calls);
        let claims = calls.into_values().filter_map(|call| match call {
            Call::Claim { names, .. } => Some(names),
            Call::Renew { .. } | Call::End { .. } | Call::Release => None,
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

#[cfg(test)]
mod tests {
    use super::super::engine_types::{EngineConfig, EngineEvent};
    use super::*;
    use crate::clock::Millis;

    /// The engine's answers to HELLO and to loading scripts.
    const HANDSHAKE: &[u8] = b"%0\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n";

    struct Fixture {
        engine: Engine,
        names: NameCalls,
        cluster: Cluster,
        now: Millis,
    }

    impl Fixture {
        fn new() -> Self {
            Fixture {
                engine: Engine::new(EngineConfig::for_tests(), 7),
                names: NameCalls::new("p", 0x10),
                cluster: Cluster::new(0x10, 1 << 20),
                now: Millis(0),
            }
        }

        /// Connects, and returns the holders whose leases it ends.
        fn connect(&mut self) -> Vec<String> {
            self.now = self.now.after(10_000);
            self.engine.want(Link::Commands, self.now);
            self.engine.on_connecting(Link::Commands, self.now);
            self.engine.on_connected(Link::Commands, self.now);
            assert!(self.hear(HANDSHAKE).is_empty());
            self.take_sent();
            self.names.begin(&mut self.engine, "n", &self.cluster);
            self.take_sent()
        }

        fn lose(&mut self) {
            self.engine.on_failed(Link::Commands, "cut", self.now);
            self.hear(b"");
            self.names.give_up(&mut self.cluster);
        }

        fn hear(&mut self, bytes: &[u8]) -> Vec<(u64, Result<Vec<i64>, String>)> {
            self.engine.on_bytes(Link::Commands, bytes, self.now);
            let mut answers = Vec::new();
            while let Some(event) = self.engine.next_event(self.now) {
                if let EngineEvent::Answer { tag, result } = event {
                    answers.push((tag, result));
                }
            }
            answers
        }

        fn answer(&mut self, bytes: &[u8]) {
            self.standings(bytes);
        }

        fn standings(&mut self, bytes: &[u8]) -> Vec<Standing> {
            let answers = self.hear(bytes).into_iter();
            answers
                .map(|(tag, result)| self.names.on_answer(tag, result, &mut self.cluster))
                .collect()
        }

        fn request(&mut self, channel: Channel, nick: &str, kind: NameRequestKind) {
            self.cluster.request_name(NameRequest { channel, nick: nick.into(), kind });
        }

        /// How many claims were sent since the last call.
        fn take_claims(&mut self) -> usize {
            let text = String::from_utf8(self.engine.unsent(Link::Commands).to_vec()).unwrap();
            self.engine.on_sent(Link::Commands, text.len());
            // The first of their keys.
            text.matches("{p}:names:").count()
        }

        /// The holders whose leases end with what was sent since the last call.
        fn take_sent(&mut self) -> Vec<String> {
            let text = String::from_utf8(self.engine.unsent(Link::Commands).to_vec()).unwrap();
            self.engine.on_sent(Link::Commands, text.len());
            let calls = text.split("EVALSHA").skip(1).filter(|call| call.contains("$1\r\n0\r\n"));
            let holder =
                |call: &str| call.split_once("lease:").map(|(_, rest)| rest[14..16].into());
            calls.filter_map(holder).collect()
        }
    }

    #[test]
    fn former_leases_are_ended_until_that_is_answered() {
        let mut node = Fixture::new();
        assert_eq!(node.connect(), ["10"]);
        node.answer(b":1\r\n:1\r\n");
        node.names.renew(&mut node.engine, "n", LEASE_MS, &node.cluster);
        assert!(node.take_sent().is_empty(), "it has ended");
        node.lose();
        assert_eq!(node.connect(), ["10", "11"], "this engine may not know");
        node.answer(b"-OOM full\r\n:0\r\n-OOM full\r\n");
        node.names.renew(&mut node.engine, "n", LEASE_MS, &node.cluster);
        assert_eq!(node.take_sent(), ["11"], "it has not");
        node.lose();
        assert_eq!(node.connect(), ["10", "11", "12"]);
        node.answer(b":0\r\n:0\r\n:1\r\n:0\r\n");
        node.names.renew(&mut node.engine, "n", LEASE_MS, &node.cluster);
        assert!(node.take_sent().is_empty(), "they all have");
    }

    #[test]
    fn claims_before_the_first_lease_are_void() {
        let mut node = Fixture::new();
        node.connect();
        assert_eq!(node.standings(b"-OOM full\r\n:1\r\n"), [Standing::Sure; 2]);
        node.names.renew(&mut node.engine, "n", LEASE_MS, &node.cluster);
        assert_eq!(node.standings(b":0\r\n"), [Standing::LeaseLost], "names were free");
        node.names.renew(&mut node.engine, "n", LEASE_MS, &node.cluster);
        assert_eq!(node.standings(b":1\r\n"), [Standing::Sure]);
        node.lose();
        node.connect();
        assert_eq!(node.standings(b":0\r\n"), [Standing::Sure], "no name was claimed before");
    }

    /// A room has closed on a connection that stays.
    #[test]
    fn first_lease_of_a_holder_is_not_missed() {
        let mut node = Fixture::new();
        node.connect();
        assert_eq!(node.standings(b":0\r\n:1\r\n"), [Standing::Sure; 2]);
        node.names.renew(&mut node.engine, "n", LEASE_MS, &node.cluster);
        node.names.begin(&mut node.engine, "n", &node.cluster);
        // Of the former holder; the first of this one; the end of both before.
        assert_eq!(node.standings(b":1\r\n:0\r\n:0\r\n:1\r\n"), [Standing::Sure; 4]);
        node.names.renew(&mut node.engine, "n", LEASE_MS, &node.cluster);
        assert_eq!(node.standings(b":0\r\n"), [Standing::LeaseLost]);
    }

    #[test]
    fn names_of_a_closed_room_are_not_claimed() {
        let mut node = Fixture::new();
        node.connect();
        node.answer(b":0\r\n:1\r\n");
        let rooms = ["chat:lobby", "chat:attic"].map(|name| node.cluster.open(name, true));
        let kind = NameRequestKind::Claim { id: None, age_ms: 0, is_forced: false };
        for channel in rooms.into_iter().cycle().take(NAME_CALLS_MAX + 4) {
            node.cluster.request_name(NameRequest { channel, nick: "eva".into(), kind });
        }
        node.names.call(&mut node.engine, "n", &mut node.cluster);
        assert_eq!(node.take_claims(), NAME_CALLS_MAX);
        assert_eq!(node.names.held.as_ref().map(|held| held.channel), Some(rooms[0]));
        node.cluster.close(rooms[0]);
        node.answer(&b"*1\r\n:1\r\n".repeat(NAME_CALLS_MAX));
        node.names.call(&mut node.engine, "n", &mut node.cluster);
        assert_eq!(node.take_claims(), 1, "those of the other go in one call");
        assert!(!node.cluster.has_name_requests());
    }

    const CLAIM: NameRequestKind = NameRequestKind::Claim { id: None, age_ms: 0, is_forced: false };

    /// As where clients come and go.
    #[test]
    fn releases_and_claims_go_together() {
        let mut node = Fixture::new();
        node.connect();
        node.answer(b":0\r\n:1\r\n");
        let channel = node.cluster.open("chat:lobby", true);
        for number in 0..40 {
            node.request(channel, &format!("new{number}"), CLAIM);
            node.request(channel, &format!("old{number}"), NameRequestKind::Release);
        }
        node.names.call(&mut node.engine, "n", &mut node.cluster);
        assert_eq!(node.take_claims(), 2, "a call of each script");
        assert!(!node.cluster.has_name_requests());
    }

    #[test]
    fn former_leases_are_bounded() {
        let mut node = Fixture::new();
        for number in 1..100 {
            let ended = node.connect().len();
            assert!(ended <= FORMER_MAX && ended >= number.min(8), "{ended}");
            node.lose();
        }
        assert_eq!(node.names.former.len(), FORMER_MAX);
    }
}
