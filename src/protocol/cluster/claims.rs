//! Nicknames that connections wait for, until the engine has said whose they are.

use std::collections::{HashMap, VecDeque};

use super::outbox::Channel;
use crate::clock::Millis;
use crate::conn_id::ConnId;
use crate::limits::CLAIM_TIMEOUT_MS;
use crate::protocol::nickname::Folded;

/// A request to the engine about a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameRequest {
    /// Its room.
    pub channel: Channel,
    /// The nickname as typed.
    pub nick: Box<str>,
    /// The question.
    pub kind: NameRequestKind,
}

/// A question to the engine about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRequestKind {
    /// To have it.
    Claim {
        /// The connection that waits for it; `None` where a member has it already.
        id: Option<ConnId>,
        /// How long it has been a member, in milliseconds.
        age_ms: u64,
        /// It has logged in: whoever has the name makes way.
        is_forced: bool,
    },
    /// To have it no more.
    Release,
}

/// The outcome of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// It is under way; the message is tried again with the outcome.
    Pending,
    /// The name is the client's.
    Granted,
    /// Somebody on another node has it, or one that looks like it.
    Refused,
    /// The engine cannot be asked: what this node knows has to do.
    Unknown,
}

/// A name that the engine has decided on while no connection waited for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its room.
    pub channel: Channel,
    /// The nickname as typed.
    pub nick: Box<str>,
    /// The outcome.
    pub outcome: NameOutcome,
}

/// The engine's decision about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameOutcome {
    /// It is this node's.
    Ours,
    /// It is another node's, whose member has had it longer.
    Older,
    /// It is another node's, where somebody has logged in to the account.
    LoggedIn,
}

/// The claims of connections, each at most one: it is not read from meanwhile.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// By [`ConnId::to_bits`].
    attempts: HashMap<u64, Attempt>,
    /// The names of the attempts.
    names: HashMap<RoomName, AttemptedName>,
    /// When claims are given up, oldest first. Some have been decided.
    due: VecDeque<(Millis, u64)>,
    /// Connections whose outcomes have come since the server last looked. Some have gone.
    finished: VecDeque<ConnId>,
    requests: Requests,
    verdicts: VecDeque<Verdict>,
}

/// Requests to the engine, in order, by number.
#[derive(Debug, Default)]
struct Requests {
    /// `None` where one was withdrawn; never in front.
    queue: VecDeque<Option<NameRequest>>,
    /// The number of the first.
    first: u64,
}

impl Requests {
    /// Adds a request. Returns its number.
    fn push(&mut self, request: NameRequest) -> u64 {
        self.queue.push_back(Some(request));
        self.first + self.queue.len() as u64 - 1
    }

    /// Withdraws a request, if nobody has taken it.
    fn withdraw(&mut self, number: u64) {
        let at = number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some(request) = at.and_then(|at| self.queue.get_mut(at)) {
            *request = None;
        }
        self.drop_withdrawn();
    }

    fn pop(&mut self) -> Option<NameRequest> {
        let request = self.queue.pop_front()?;
        self.first += 1;
        self.drop_withdrawn();
        request
    }

    fn drop_withdrawn(&mut self) {
        while let Some(None) = self.queue.front() {
            self.queue.pop_front();
            self.first += 1;
        }
    }
}

#[derive(Debug)]
struct Attempt {
    channel: Channel,
    nick: Box<str>,
    is_forced: bool,
    due_at: Millis,
    outcome: Claimed,
    /// The connection has been told that there is one.
    is_told: bool,
    /// The number of its request.
    request: u64,
}

/// A room, and a name in it, folded.
type RoomName = (Channel, Box<str>);

#[derive(Debug, Default)]
struct AttemptedName {
    attempts: usize,
    /// It may have been lost meanwhile: whoever becomes a member under it is to claim it anew.
    is_doubted: bool,
}

impl Claims {
    /// The outcome of a connection's claim, which is made if there is none. One of another name ends.
    pub(super) fn claim(
        &mut self,
        id: ConnId,
        (channel, nick): (Channel, &str),
        is_forced: bool,
        now: Millis,
    ) -> Claimed {
        let bits = id.to_bits();
        if let Some(attempt) = self.attempts.get(&bits) {
            let attempted = (attempt.channel, &*attempt.nick, attempt.is_forced);
            if attempted == (channel, nick, is_forced) {
                return attempt.outcome;
            }
            self.abandon(id);
        }
        let due_at = now.after(CLAIM_TIMEOUT_MS);
        let kind = NameRequestKind::Claim { id: Some(id), age_ms: 0, is_forced };
        let request = self.requests.push(NameRequest { channel, nick: nick.into(), kind });
        let attempt = Attempt {
            channel,
            nick: nick.into(),
            is_forced,
            due_at,
            outcome: Claimed::Pending,
            is_told: false,
            request,
        };
        self.attempts.insert(bits, attempt);
        self.names.entry(room_name(channel, nick)).or_default().attempts += 1;
        self.due.push_back((due_at, bits));
        Claimed::Pending
    }

    /// Whether a connection has claimed a name and its message has not been answered.
    pub(super) fn is_known(&self, id: ConnId) -> bool {
        self.attempts.contains_key(&id.to_bits())
    }

    /// The client of a claim has the name.
    pub(super) fn finish(&mut self, id: ConnId) {
        self.remove(id);
    }

    /// The client of a claim has gone, or has another answer: the engine is not asked any more. A name
    /// that it was granted and does not need is looked at again.
    pub(super) fn abandon(&mut self, id: ConnId) {
        let Some(Attempt { channel, nick, outcome, request, .. }) = self.remove(id) else { return };
        self.requests.withdraw(request);
        if outcome == Claimed::Granted {
            self.verdicts.push_back(Verdict { channel, nick, outcome: NameOutcome::Ours });
        }
    }

    /// Ends an attempt. What has been in doubt meanwhile is asked for again, for a member who may
    /// be there now: what became of the name before could not reach one.
    fn remove(&mut self, id: ConnId) -> Option<Attempt> {
        let attempt = self.attempts.remove(&id.to_bits())?;
        let key = room_name(attempt.channel, &attempt.nick);
        if let Some(name) = self.names.get_mut(&key) {
            name.attempts -= 1;
            let (is_last, is_doubted) = (name.attempts == 0, name.is_doubted);
            if is_last {
                self.names.remove(&key);
            }
            if is_doubted {
                let kind = NameRequestKind::Claim { id: None, age_ms: 0, is_forced: false };
                let (channel, nick) = (attempt.channel, attempt.nick.clone());
                self.requests.push(NameRequest { channel, nick, kind });
            }
        }
        Some(attempt)
    }

    /// Something has become of a name besides the claims of connections. Returns whether any
    /// claims it.
    pub(super) fn doubt(&mut self, channel: Channel, nick: &str) -> bool {
        let name = self.names.get_mut(&room_name(channel, nick));
        name.map(|name| name.is_doubted = true).is_some()
    }

    /// The same of all names.
    pub(super) fn doubt_all(&mut self) {
        self.names.values_mut().for_each(|name| name.is_doubted = true);
    }

    /// Asks for something.
    pub(super) fn request(&mut self, request: NameRequest) {
        if request.kind == NameRequestKind::Release {
            self.doubt(request.channel, &request.nick);
        }
        self.requests.push(request);
    }

    /// The next request to the engine.
    pub(super) fn next_request(&mut self) -> Option<NameRequest> {
        self.requests.pop()
    }

    pub(super) fn has_requests(&self) -> bool {
        !self.requests.queue.is_empty()
    }

    /// Bytes allocated, about.
    pub(super) fn allocated(&self) -> usize {
        const NICK_BYTES: usize = 64;
        let attempt = size_of::<(u64, Attempt)>() + size_of::<(RoomName, AttemptedName)>();
        let attempts = self.attempts.len() * (attempt + 2 * NICK_BYTES);
        let due = self.due.capacity() * size_of::<(Millis, u64)>();
        let requests = self.requests.queue.len() * (size_of::<NameRequest>() + NICK_BYTES);
        let verdicts = self.verdicts.len() * (size_of::<Verdict>() + NICK_BYTES);
        attempts + due + requests + verdicts
    }

    /// The engine has decided.
    pub(super) fn settle(&mut self, id: Option<ConnId>, verdict: Verdict) {
        if let Some(id) = id
            && let Some(attempt) = self.attempts.get_mut(&id.to_bits())
            && attempt.outcome == Claimed::Pending
            && (attempt.channel, &attempt.nick) == (verdict.channel, &verdict.nick)
        {
            let is_ours = verdict.outcome == NameOutcome::Ours;
            attempt.outcome = if is_ours { Claimed::Granted } else { Claimed::Refused };
            self.finished.push_back(id);
        } else {
            self.verdicts.push_back(verdict);
        }
    }

    /// The engine cannot say.
    pub(super) fn give_up(&mut self, id: ConnId) {
        if let Some(attempt) = self.attempts.get_mut(&id.to_bits())
            && attempt.outcome == Claimed::Pending
        {
            attempt.outcome = Claimed::Unknown;
            self.finished.push_back(id);
        }
    }

    /// Gives up what has waited for too long.
    pub(super) fn expire(&mut self, now: Millis) {
        while let Some((due_at, bits)) = self.due.front().copied() {
            let is_current =
                self.attempts.get(&bits).is_some_and(|attempt| attempt.due_at == due_at);
            if is_current && due_at > now {
                break;
            }
            self.due.pop_front();
            if is_current {
                self.give_up(ConnId::from_bits(bits));
            }
        }
    }

    /// When the oldest claim is given up.
    pub(super) fn due_at(&self) -> Option<Millis> {
        self.due.front().map(|(due_at, _)| *due_at)
    }

    pub(super) fn next_finished(&mut self) -> Option<ConnId> {
        loop {
            let id = self.finished.pop_front()?;
            // It may have been abandoned since.
            if let Some(attempt) = self.attempts.get_mut(&id.to_bits())
                && attempt.outcome != Claimed::Pending
                && !std::mem::replace(&mut attempt.is_told, true)
            {
                return Some(id);
            }
        }
    }

    pub(super) fn next_verdict(&mut self) -> Option<Verdict> {
        self.verdicts.pop_front()
    }

    pub(super) fn has_work(&self) -> bool {
        !self.finished.is_empty() || !self.verdicts.is_empty()
    }

    /// Whether any connection waits for its outcome.
    pub(super) fn has_pending(&self) -> bool {
        self.attempts.values().any(|attempt| attempt.outcome == Claimed::Pending)
    }

    /// Whether a connection waits for its outcome, or has not been told that it has come.
    pub(super) fn is_awaited(&self, id: ConnId) -> bool {
        self.attempts.get(&id.to_bits()).is_some_and(|attempt| !attempt.is_told)
    }
}

fn room_name(channel: Channel, nick: &str) -> RoomName {
    (channel, Folded::of(nick).map_or_else(|| nick.into(), |folded| folded.as_str().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Channel = 3;
    const AGAIN: NameRequestKind = NameRequestKind::Claim { id: None, age_ms: 0, is_forced: false };

    /// Claims of as many connections on one name, which the engine has been asked for.
    fn asked(count: u64) -> Claims {
        let mut claims = Claims::default();
        for bits in 0..count {
            claims.claim(ConnId::from_bits(bits), (ROOM, "Eva"), true, Millis(0));
        }
        while claims.next_request().is_some() {}
        claims
    }

    fn grant(claims: &mut Claims, bits: u64) -> ConnId {
        let id = ConnId::from_bits(bits);
        let verdict = Verdict { channel: ROOM, nick: "Eva".into(), outcome: NameOutcome::Ours };
        claims.settle(Some(id), verdict);
        id
    }

    fn next_kind(claims: &mut Claims) -> Option<NameRequestKind> {
        claims.next_request().map(|request| request.kind)
    }

    #[test]
    fn name_lost_before_its_member_joins_is_asked_for() {
        let mut claims = asked(2);
        assert!(!claims.doubt(ROOM + 1, "eva") && !claims.doubt(ROOM, "ewa"));
        let id = grant(&mut claims, 0);
        assert!(claims.doubt(ROOM, "eva"), "the answer may come before or behind");
        assert_eq!(next_kind(&mut claims), None, "nobody has it yet");
        claims.finish(id);
        assert_eq!(next_kind(&mut claims), Some(AGAIN));
        claims.abandon(ConnId::from_bits(1));
        assert_eq!(next_kind(&mut claims), Some(AGAIN), "each may be the member");
        assert!(claims.names.is_empty() && !claims.doubt(ROOM, "eva"));
    }

    #[test]
    fn outcome_is_not_that_of_another_name() {
        let mut claims = asked(1);
        let id = grant(&mut claims, 0);
        assert_eq!(claims.claim(id, (ROOM, "Eva"), true, Millis(1)), Claimed::Granted);
        for (channel, nick, is_forced) in
            [(ROOM, "Bob", true), (ROOM + 1, "Bob", true), (ROOM + 1, "Bob", false)]
        {
            let claimed = claims.claim(id, (channel, nick), is_forced, Millis(1));
            assert_eq!(claimed, Claimed::Pending);
            let request = claims.next_request().unwrap();
            let kind = NameRequestKind::Claim { id: Some(id), age_ms: 0, is_forced };
            assert_eq!(request, NameRequest { channel, nick: nick.into(), kind });
            assert_eq!(claims.next_request(), None);
        }
        let verdict = Verdict { channel: ROOM, nick: "Eva".into(), outcome: NameOutcome::Ours };
        assert_eq!(claims.next_verdict(), Some(verdict), "it may be nobody's");
        assert_eq!((claims.next_verdict(), claims.next_finished()), (None, None));
        claims.abandon(id);
        assert!(claims.names.is_empty() && claims.attempts.is_empty());
    }

    #[test]
    fn name_released_behind_its_claim_is_asked_for() {
        let mut claims = asked(1);
        let release = NameRequestKind::Release;
        claims.request(NameRequest { channel: ROOM, nick: "EVA".into(), kind: release });
        let id = grant(&mut claims, 0);
        claims.finish(id);
        assert_eq!(next_kind(&mut claims), Some(release));
        assert_eq!(next_kind(&mut claims), Some(AGAIN));
        assert_eq!(next_kind(&mut claims), None);
    }

    #[test]
    fn claim_whose_client_has_gone_is_not_asked_for() {
        let mut claims = Claims::default();
        let ids = [0, 1, 2, 3].map(ConnId::from_bits);
        for (id, nick) in ids.into_iter().zip(["ann", "bob", "cy", "dan"]) {
            claims.claim(id, (ROOM, nick), false, Millis(0));
        }
        let held = claims.allocated();
        claims.abandon(ids[1]);
        claims.abandon(ids[0]);
        assert!(claims.allocated() < held);
        let request = claims.next_request().unwrap();
        assert_eq!(&*request.nick, "cy");
        claims.abandon(ids[2]);
        claims.finish(ids[3]);
        let request = claims.next_request().expect("who has joined by what this node knows");
        assert_eq!(&*request.nick, "dan");
        assert!(!claims.has_requests());
    }

    #[test]
    fn name_of_which_nothing_came_is_asked_for_once() {
        let mut claims = asked(1);
        let id = grant(&mut claims, 0);
        claims.finish(id);
        assert_eq!(next_kind(&mut claims), None);
        assert!(claims.names.is_empty());
    }
}
