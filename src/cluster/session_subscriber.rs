//! The connection that subscribes: asks for channels until it has those that are wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::engine_types::EngineConfig;
use super::resp::{Message, Protocol, Reply, push_head, push_part};
use super::session::{Failure, Frame, Session, words_of};

/// Most channels of one command.
const CHANNELS_PER_COMMAND: usize = 64;

/// State of a channel's subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subscription {
    Asked,
    Confirmed,
    Leaving,
}

/// The channels that are wanted, and those of the connection.
#[derive(Debug, Default)]
pub(super) struct Subscriber {
    wanted: BTreeSet<Vec<u8>>,
    subscribed: BTreeMap<Vec<u8>, Subscription>,
    /// Wanted channels that are not confirmed.
    unconfirmed: usize,
}

impl Subscriber {
    /// Sets the channels that are wanted.
    pub(super) fn set_wanted(&mut self, channels: Vec<Vec<u8>>) {
        self.wanted = channels.into_iter().collect();
        self.count();
    }

    pub(super) fn on_lost(&mut self) {
        self.subscribed.clear();
        self.count();
    }

    /// Whether all that is wanted is confirmed.
    pub(super) fn is_complete(&self) -> bool {
        self.unconfirmed == 0
    }

    fn count(&mut self) {
        let is_confirmed =
            |name: &&Vec<u8>| self.subscribed.get(*name) == Some(&Subscription::Confirmed);
        self.unconfirmed = self.wanted.len() - self.wanted.iter().filter(is_confirmed).count();
    }

    /// Asks for the channels that are missing, and leaves those that are not wanted.
    pub(super) fn synchronize(&mut self, session: &mut Session) {
        let is_missing = |name: &&Vec<u8>| {
            self.subscribed.get(*name).is_none_or(|state| *state == Subscription::Leaving)
        };
        let missing: Vec<Vec<u8>> = self.wanted.iter().filter(is_missing).cloned().collect();
        let is_surplus = |(name, state): &(&Vec<u8>, &Subscription)| {
            **state != Subscription::Leaving && !self.wanted.contains(*name)
        };
        let surplus: Vec<Vec<u8>> =
            self.subscribed.iter().filter(is_surplus).map(|(name, _)| name.clone()).collect();
        push_all(session, b"SUBSCRIBE", &missing);
        push_all(session, b"UNSUBSCRIBE", &surplus);
        self.subscribed.extend(missing.into_iter().map(|name| (name, Subscription::Asked)));
        self.subscribed.extend(surplus.into_iter().map(|name| (name, Subscription::Leaving)));
        self.count();
    }

    /// Takes a frame: a message, or a confirmation.
    pub(super) fn on_frame(
        &mut self,
        session: &Session,
        frame: &Frame,
        config: &EngineConfig,
    ) -> Result<Option<Message>, Failure> {
        let text = |range: &Range<usize>| &session.input()[range.clone()];
        let list = match &frame.reply {
            Reply::Push(list) => list,
            Reply::List(list) if session.protocol() == Protocol::Two => list,
            Reply::Error(words) => return Err(Failure::Refused(words_of(text(words), config))),
            // An answer to PING, or to a question of another version.
            _ => return Ok(None),
        };
        match &list[..] {
            [Reply::Text(kind), Reply::Text(channel), Reply::Text(payload)]
                if text(kind) == b"message" =>
            {
                let (channel, payload) = (channel.clone(), payload.clone());
                let message = Message { frame_len: frame.len, channel, payload };
                Ok(self.is_wanted(session, &message).then_some(message))
            }
            [Reply::Text(kind), Reply::Text(channel), Reply::Integer(_)] => {
                self.on_confirmation(text(kind), text(channel));
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// Whether a message is of a channel that is wanted still.
    pub(super) fn is_wanted(&self, session: &Session, message: &Message) -> bool {
        let state = self.subscribed.get(&session.input()[message.channel.clone()]);
        state.is_some_and(|state| *state != Subscription::Leaving)
    }

    fn on_confirmation(&mut self, kind: &[u8], channel: &[u8]) {
        let Some(state) = self.subscribed.get_mut(channel) else { return };
        match (kind, *state) {
            (b"subscribe", Subscription::Asked) => {
                *state = Subscription::Confirmed;
                self.unconfirmed -= usize::from(self.wanted.contains(channel));
            }
            (b"unsubscribe", Subscription::Leaving) => drop(self.subscribed.remove(channel)),
            _ => {}
        }
    }
}

fn push_all(session: &mut Session, command: &[u8], channels: &[Vec<u8>]) {
    let output = session.output.writer();
    for channels in channels.chunks(CHANNELS_PER_COMMAND) {
        push_head(output, 1 + channels.len());
        push_part(output, command);
        channels.iter().for_each(|channel| push_part(output, channel));
    }
}
