//! A room that spans nodes: members elsewhere, what they say, and nicknames that are claimed.

#[cfg(feature = "accounts")]
use std::io::Write as _;

use super::roster::{Group, NAMED_MAX, Swept};
use super::{ChatProtocol, MemberKey, Message, Pending, append_line, write_line};
use crate::buffer::LogFullError;
use crate::clock::Millis;
use crate::codec::line::LINE_LEN_MAX;
use crate::conn_id::ConnId;
use crate::protocol::cluster::{
    Claimed, Event, NameRequestKind, NodeNumber, Progress, Remote, Tell, claim, finish_claim,
    publish, request,
};
#[cfg(feature = "accounts")]
use crate::protocol::login::Notice;
use crate::protocol::nickname::Nickname;
use crate::protocol::{Context, Flow, Room, Shared};

/// Members told of in one step.
const PAGE_LEN: usize = 256;

impl ChatProtocol {
    /// Claims a nickname for a client that is to become a member. `None` where it has it; else how
    /// its message goes on.
    pub(super) fn claim(
        &self,
        nickname: &Nickname<'_>,
        is_forced: bool,
        ctx: &mut Context<'_>,
    ) -> Option<Flow> {
        let nick = nickname.text();
        match claim(nick, is_forced, ctx) {
            Claimed::Pending => Some(Flow::WaitForClaim),
            Claimed::Granted => None,
            Claimed::Refused => Some(self.reply(Message::Taken(nick), ctx)),
            Claimed::Unknown if !is_forced && self.roster.find(nick).is_some() => {
                Some(self.reply(Message::Taken(nick), ctx))
            }
            Claimed::Unknown => None,
        }
    }

    /// A client has become a member, under a name that was claimed if it could be.
    pub(super) fn note_joined(&mut self, key: MemberKey, nick: &str, ctx: &mut Context<'_>) {
        if ctx.room.channel.is_none() {
            return;
        }
        let at = key as usize;
        if self.joined_secs.len() <= at {
            self.joined_secs.resize(at + 1, 0);
        }
        self.joined_secs[at] = secs(ctx.shared.now);
        finish_claim(ctx);
        publish(ctx.room, ctx.shared, &Event::Joined(nick));
    }

    /// A member has left. Returns whether one elsewhere has its nickname, and has taken its place.
    pub(super) fn note_left(&self, nick: &str, room: &Room, shared: &mut Shared) -> bool {
        publish(room, shared, &Event::Left(nick));
        request(room, shared, nick, NameRequestKind::Release);
        self.holder_elsewhere(nick).is_some()
    }

    /// The nickname of one elsewhere that equals `nick`, unless a member here has it too.
    pub(super) fn holder_elsewhere(&self, nick: &str) -> Option<&str> {
        let (_, elsewhere) = self.roster.find(nick)?;
        self.members.find(nick).is_none().then_some(elsewhere)
    }

    /// The nickname of a member here or elsewhere that equals `nick`.
    fn holder(&self, nick: &str) -> Option<&str> {
        let here = self.members.find(nick).map(|member| &*member.nick);
        here.or_else(|| self.holder_elsewhere(nick))
    }

    /// Sends a message to a member of another node.
    pub(super) fn send_private_elsewhere(
        &self,
        to: &str,
        text: &str,
        key: MemberKey,
        ctx: &mut Context<'_>,
    ) -> Option<Flow> {
        let (node, to) = self.roster.find(to)?;
        let to_node = ctx.shared.cluster.as_ref()?.node(node);
        let from = &self.members.get(key).nick;
        publish(ctx.room, ctx.shared, &Event::Private { to_node, to, from, text });
        ctx.shared.charge(super::PRIVATE_MESSAGE_COST_BYTES);
        Some(self.reply(Message::PrivateSent { to, text }, ctx))
    }

    /// Acts on what has happened elsewhere.
    pub(super) fn act_on_remote(
        &mut self,
        remote: Remote<'_>,
        room: &mut Room,
        shared: &mut Shared,
    ) -> Result<Progress, LogFullError> {
        self.announce_departures(&mut room.log)?;
        match remote {
            Remote::Event { node, event } => self.act_on_event(node, event, room, shared),
            Remote::Missed(count) => {
                if !self.members.is_empty() {
                    let message = Message::Missed(count).in_lang(self.lang);
                    append_line(message, &mut self.line, &mut room.log)?;
                }
                Ok(Progress::Done)
            }
            Remote::NodeGone { node, name } => {
                self.roster.hide(node);
                let Some(Swept { left, .. }) = self.roster.sweep(node, &self.members) else {
                    return Ok(Progress::More);
                };
                self.announce_left(left, name);
                let _ = self.announce_departures(&mut room.log);
                Ok(Progress::Done)
            }
        }
    }

    fn act_on_event(
        &mut self,
        node: NodeNumber,
        event: Event<'_>,
        room: &mut Room,
        shared: &mut Shared,
    ) -> Result<Progress, LogFullError> {
        match event {
            Event::Post { from, text } if is_valid(from, text) && !self.members.is_empty() => {
                let message = Message::Post { from, text }.in_lang(self.lang);
                append_line(message, &mut self.line, &mut room.log)?;
            }
            Event::Joined(nick) => {
                let Ok(nickname) = Nickname::parse(nick) else { return Ok(Progress::Done) };
                let replaced: Option<Box<str>> = self.holder(nick).map(Into::into);
                if self.roster.insert(node, &nickname) {
                    // Nobody is told when the one who had the nickname goes.
                    self.pending.extend(replaced.map(Pending::Left));
                    self.pending.push_back(Pending::Joined(nick.into()));
                }
            }
            Event::Left(nick) => {
                if self.roster.remove(node, nick) && self.holder(nick).is_none() {
                    self.pending.push_back(Pending::Left(nick.into()));
                }
            }
            Event::SnapshotBegins => {
                let has_settled =
                    shared.cluster.as_ref().is_some_and(|cluster| cluster.has_settled);
                self.roster.begin_snapshot(node, has_settled);
            }
            Event::Present(nick) => {
                if let Ok(nickname) = Nickname::parse(nick) {
                    self.roster.confirm(node, &nickname, &self.members);
                }
            }
            Event::SnapshotEnds => {
                let Some(Swept { left, joined }) = self.roster.sweep(node, &self.members) else {
                    return Ok(Progress::More);
                };
                self.roster.end_snapshot(node);
                self.announce_left(left, None);
                self.announce_joined(joined);
            }
            Event::Private { to_node, to, from, text } if is_valid(from, text) => {
                if shared.cluster.as_ref().is_some_and(|cluster| cluster.incarnation == to_node) {
                    self.deliver_private((to, from, text), node, room, shared);
                }
            }
            Event::NoSuchUser { to_node, to, name } if name.len() <= LINE_LEN_MAX => {
                let is_here =
                    shared.cluster.as_ref().is_some_and(|cluster| cluster.incarnation == to_node);
                if is_here && let Some(sender) = self.members.find(to) {
                    let message = Message::NoSuchUser(name);
                    let head = room.log.head();
                    shared.direct.push(sender.id, head, |out| write_line(message, self.lang, out));
                }
            }
            Event::Broadcast(_)
            | Event::Post { .. }
            | Event::Private { .. }
            | Event::NoSuchUser { .. } => {}
        }
        // What the log has no space for is announced at the end of the fan-out.
        let _ = self.announce_departures(&mut room.log);
        Ok(Progress::Done)
    }

    fn deliver_private(
        &self,
        (to, from, text): (&str, &str, &str),
        node: NodeNumber,
        room: &Room,
        shared: &mut Shared,
    ) {
        match self.members.find(to) {
            Some(recipient) => {
                let message = Message::Private { from, text };
                let head = room.log.head();
                shared.direct.push(recipient.id, head, |out| write_line(message, self.lang, out));
            }
            None => {
                let to_node = shared.cluster.as_ref().map_or(0, |cluster| cluster.node(node));
                publish(room, shared, &Event::NoSuchUser { to_node, to: from, name: to });
            }
        }
    }

    fn announce_left(&mut self, left: Group, node: Option<&str>) {
        if left.count > NAMED_MAX {
            let node = node.map(Into::into);
            self.pending.push_back(Pending::LeftTogether { count: left.count, node });
        } else {
            let left = left.nicks.iter().map(|nick| Pending::Left(nick.as_str().into()));
            self.pending.extend(left);
        }
    }

    fn announce_joined(&mut self, joined: Group) {
        if joined.count > NAMED_MAX {
            self.pending.push_back(Pending::JoinedTogether { count: joined.count });
        } else {
            let joined = joined.nicks.iter().map(|nick| Pending::Joined(nick.as_str().into()));
            self.pending.extend(joined);
        }
    }

    /// Tells of some members whose keys are `from` or more. Returns the key behind them.
    pub(super) fn tell_some_members(
        &self,
        from: MemberKey,
        tell: Tell,
        room: &Room,
        shared: &mut Shared,
    ) -> Option<MemberKey> {
        let now = secs(shared.now);
        let (keys, next) = self.members.page(from, PAGE_LEN);
        for key in keys {
            let nick = &*self.members.get(key).nick;
            match tell {
                Tell::Snapshot => publish(room, shared, &Event::Present(nick)),
                Tell::Claims => {
                    let joined = self.joined_secs.get(key as usize).copied().unwrap_or(now);
                    let age_ms = u64::from(now.saturating_sub(joined)) * 1_000;
                    let kind = NameRequestKind::Claim { id: None, age_ms, is_forced: false };
                    request(room, shared, nick, kind);
                }
            }
        }
        next
    }

    /// The connection of the member whose nickname equals `nick`.
    pub(super) fn connection_of(&self, nick: &str) -> Option<ConnId> {
        self.members.find(nick).map(|member| member.id)
    }

    /// Writes why a member has lost its nickname.
    pub(super) fn write_lost_name(&self, folded: &str, closes: bool, out: &mut Vec<u8>) {
        let nick = self.members.find(folded).map_or(folded, |member| &*member.nick);
        #[cfg(feature = "accounts")]
        if closes {
            let notice = Notice::LoggedInElsewhere(nick).chat(self.lang);
            writeln!(out, "{notice}").expect("a Vec takes all that is written");
            return;
        }
        let _ = closes;
        write_line(Message::Taken(nick), self.lang, out);
    }

    /// A name is this node's that no connection waited for. Where no member has it, nor is about to,
    /// it is given back.
    pub(super) fn keep_name(&self, nick: &str, room: &Room, shared: &mut Shared) {
        if self.members.find(nick).is_some() {
            return;
        }
        let channel = room.channel.zip(shared.cluster.as_mut());
        if !channel.is_some_and(|(channel, cluster)| cluster.doubt_name(channel, nick)) {
            request(room, shared, nick, NameRequestKind::Release);
        }
    }
}

/// Whether a message could have been sent by a member: its sender has checked that, if it is what it
/// says it is.
fn is_valid(from: &str, text: &str) -> bool {
    text.len() <= LINE_LEN_MAX && Nickname::parse(from).is_ok()
}

fn secs(now: Millis) -> u32 {
    u32::try_from(now.0 / 1_000).unwrap_or(u32::MAX)
}
