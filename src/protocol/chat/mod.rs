//! The `chat` protocol: nicknames, a room, private messages.
//!
//! The first message of a client is its nickname; from then on it is a member, hears the room
//! through the broadcast log, and what it says goes to everyone else there. `messages` has everything
//! the server says, `nickname` the rules, `unicode` the data they need, `members` the books.

mod members;
mod messages;
pub mod nickname;
mod sorted_keys;
mod unicode;

pub use members::{Member, MemberKey, Members};
pub use messages::{Lang, Localized, Message};

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::Write as _;

use log::debug;

use super::{CloseReason, Context, Excerpt, Flow, Room, Tag};
use crate::buffer::{BroadcastLog, Overrun};
use crate::codec::line::Line;
use nickname::{Nickname, NicknameError};

/// What a room knows of its members.
#[derive(Debug, Default)]
pub struct ChatRoom {
    /// Who is there.
    pub members: Members,
    /// Nicknames whose departure the log had no space for yet. They are announced before anybody
    /// joins or speaks, so there are never more than there were members.
    pending_departures: VecDeque<Box<str>>,
    /// The line that is being made up; empty between lines.
    line: String,
}

impl ChatRoom {
    /// Whether a departure has yet to be announced.
    #[must_use]
    pub fn has_pending_departures(&self) -> bool {
        !self.pending_departures.is_empty()
    }

    /// Checks that the books agree.
    ///
    /// # Panics
    ///
    /// If they do not.
    pub fn assert_invariants(&self) {
        self.members.assert_invariants();
        assert!(self.line.is_empty(), "a line was left behind");
    }
}

/// What a line costs its sender's visit besides the bytes of its answer.
const LINE_COST_BYTES: usize = 64;
/// What a nickname costs: it is looked at character by character.
const NICKNAME_COST_BYTES: usize = 2048;

/// Answers one message.
pub fn on_line(line: Line<'_>, lang: Lang, tag: &mut Tag, ctx: &mut Context<'_>) -> Flow {
    let Line::Text(bytes) = line else { return ctx.say(Message::TooLong, lang) };
    let Ok(text) = str::from_utf8(bytes) else { return ctx.say(Message::NotUtf8, lang) };
    let text = text.trim();
    ctx.charge(LINE_COST_BYTES);
    let flow = match (text, tag.member()) {
        ("", _) => return Flow::Continue,
        ("exit" | "/exit", _) => Flow::Close(CloseReason::Quit),
        (text, None) if text.starts_with('/') => run_command_unregistered(text, lang, ctx),
        (nick, None) => register(nick, lang, tag, ctx),
        (text, Some(key)) if text.starts_with('/') => run_command(text, key, lang, ctx),
        (text, Some(key)) => speak(text, key, lang, ctx),
    };
    if !flow.is_again() {
        debug!("{} message: {}", ctx.id, Excerpt(text.as_bytes()));
    }
    flow
}

/// A member has left. Whoever is still there is told, unless it is `quietly`.
pub fn on_leave(room: &mut Room, key: MemberKey, lang: Lang, quietly: bool) -> Box<str> {
    let nick = room.chat.members.remove(key).nick;
    if !quietly {
        room.chat.pending_departures.push_back(nick.clone());
        // If the log is full, the fan-out announces it once it has come round.
        let _ = announce_departures(room, lang);
    }
    nick
}

/// Announces departures in the log, as many as it has space for.
///
/// # Errors
///
/// There are more: the log is full of what not everyone has been offered.
pub fn announce_departures(room: &mut Room, lang: Lang) -> Result<(), Overrun> {
    let Room { log, chat: ChatRoom { members, pending_departures, line }, .. } = room;
    if members.is_empty() {
        pending_departures.clear();
    }
    while let Some(nick) = pending_departures.front() {
        append(log, line, Message::Left(nick).in_lang(lang))?;
        pending_departures.pop_front();
    }
    Ok(())
}

/// Appends a line that nobody asked for to what a client is sent.
pub fn say(message: Message<'_>, lang: Lang, out: &mut Vec<u8>) {
    writeln!(out, "{}", message.in_lang(lang)).expect("a Vec takes all that is written");
}

impl Context<'_> {
    fn say(&mut self, message: Message<'_>, lang: Lang) -> Flow {
        say(message, lang, self.out);
        Flow::Continue
    }
}

fn register(nick: &str, lang: Lang, tag: &mut Tag, ctx: &mut Context<'_>) -> Flow {
    ctx.charge(NICKNAME_COST_BYTES);
    let nickname = match Nickname::parse(nick) {
        Err(NicknameError::Length) => return ctx.say(Message::NicknameLength, lang),
        Err(NicknameError::Characters) => return ctx.say(Message::NicknameCharacters, lang),
        Err(NicknameError::Reserved) => return ctx.say(Message::Taken(nick), lang),
        Ok(nickname) => nickname,
    };
    if ctx.room.chat.members.is_taken(&nickname) {
        return ctx.say(Message::Taken(nick), lang);
    }
    let head = ctx.room.log.head();
    if ctx.log_share == 0 || announce(ctx.room, Message::Joined(nick), lang).is_err() {
        return Flow::Wait;
    }
    let added = ctx.room.log.head() - head;
    ctx.log_share = ctx.log_share.saturating_sub(added as usize);
    tag.join(ctx.room.chat.members.insert(&nickname, ctx.id));
    let id = ctx.id;
    ctx.connection_log.line(ctx.now, || format!("{id} {nick} joined"));
    ctx.say(Message::Welcome(nick), lang)
}

fn speak(text: &str, key: MemberKey, lang: Lang, ctx: &mut Context<'_>) -> Flow {
    if ctx.room.chat.members.len() > 1 {
        if ctx.log_share == 0 || announce_departures(ctx.room, lang).is_err() {
            return Flow::Wait;
        }
        let Room { log, chat: ChatRoom { members, line, .. }, .. } = &mut *ctx.room;
        let message = Message::Post { from: &members.get(key).nick, text };
        let head = log.head();
        if append(log, line, message.in_lang(lang)).is_err() {
            return Flow::Wait;
        }
        let added = log.head() - head;
        ctx.log_share = ctx.log_share.saturating_sub(added as usize);
    }
    ctx.stats.broadcasts_total += 1;
    Flow::Continue
}

/// A command of a client without a nickname.
fn run_command_unregistered(text: &str, lang: Lang, ctx: &mut Context<'_>) -> Flow {
    match split_word(text).0 {
        "/help" => ctx.say(Message::Help, lang),
        "/exit" | "/quit" => Flow::Close(CloseReason::Quit),
        _ => ctx.say(Message::NicknameFirst, lang),
    }
}

fn run_command(text: &str, key: MemberKey, lang: Lang, ctx: &mut Context<'_>) -> Flow {
    let (command, rest) = split_word(text);
    match command {
        "/who" => {
            ctx.out.extend_from_slice(ctx.room.chat.members.online(lang).as_bytes());
            ctx.out.push(b'\n');
            Flow::Continue
        }
        "/msg" => match split_word(rest) {
            ("", _) | (_, "") => ctx.say(Message::MsgUsage, lang),
            (to, text) => whisper(to, text, key, lang, ctx),
        },
        "/help" => ctx.say(Message::Help, lang),
        "/exit" | "/quit" => Flow::Close(CloseReason::Quit),
        _ => ctx.say(Message::UnknownCommand(command), lang),
    }
}

/// What a private message costs its sender's visit besides its bytes: a recipient looked up, a place
/// in its send queue, and a write of its own.
const MESSAGE_COST_BYTES: usize = 512;

/// Says something to one member alone.
fn whisper(to: &str, text: &str, key: MemberKey, lang: Lang, ctx: &mut Context<'_>) -> Flow {
    let members = &ctx.room.chat.members;
    let Some(recipient) = members.find(to) else { return ctx.say(Message::NoSuchUser(to), lang) };
    let from = &members.get(key).nick;
    say(Message::PrivateSent { to: &recipient.nick, text }, lang, ctx.out);
    let message = Message::Private { from, text };
    if recipient.id == ctx.id {
        say(message, lang, ctx.out);
    } else {
        let head = ctx.room.log.head();
        ctx.direct.push(recipient.id, head, |bytes| say(message, lang, bytes));
    }
    ctx.charge(MESSAGE_COST_BYTES);
    Flow::Continue
}

/// Puts a line for all members into the log. Where there are none, it takes up no room.
///
/// # Errors
///
/// The log is full of what not everyone has been offered.
fn announce(room: &mut Room, message: Message<'_>, lang: Lang) -> Result<(), Overrun> {
    announce_departures(room, lang)?;
    if room.chat.members.is_empty() {
        return Ok(());
    }
    append(&mut room.log, &mut room.chat.line, message.in_lang(lang))
}

fn append(
    log: &mut BroadcastLog,
    line: &mut String,
    message: Localized<'_>,
) -> Result<(), Overrun> {
    line.clear();
    writeln!(line, "{message}").expect("a String takes all that is written");
    let result = log.append(&[line.as_bytes()]);
    line.clear();
    result
}

/// The first word, and what comes behind the blanks after it.
fn split_word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}
