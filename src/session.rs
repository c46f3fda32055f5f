//! One connection's conversation, without its socket: bytes go in, frames reach a handler, reply
//! bytes come out. Time is an argument. Knows nothing of readiness, slots or other sessions.

use std::mem;

use crate::buffer::{BroadcastLog, FrameClock, RecvBuffer, SendQueue};
use crate::clock::Millis;
use crate::codec::Decoder;
use crate::codec::command::CommandDecoder;
use crate::codec::line::LineDecoder;
use crate::codec::package::PackageDecoder;
use crate::codec::prefixed::PrefixedDecoder;
use crate::handler::chat::{self, Lang};
use crate::handler::{self, CloseReason, Context, Flow, Tag};
use crate::limits::{Limits, TAIL_QUIET_MS};

/// What a listener speaks, with what its URL says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// The 5-byte-header command protocol.
    Command {
        /// Longest payload accepted, in bytes.
        frame_len_max: u32,
    },
    /// Messages behind one length byte, answered reversed.
    Prefixed,
    /// Unframed echo.
    Raw {
        /// What each answer begins with.
        prefix: Vec<u8>,
    },
    /// Lines and nicknames.
    Chat {
        /// What the server speaks.
        lang: Lang,
    },
    /// Packages for plugins.
    Plugin {
        /// How long a client must be quiet before what it sent is a package, in milliseconds; 0 is
        /// until nothing more can be read without waiting.
        gather_ms: u64,
        /// Longest package accepted, in bytes.
        package_len_max: u32,
    },
}

impl Protocol {
    /// Whether a message ends where nothing more can be read without waiting.
    #[must_use]
    pub fn ends_when_dry(&self) -> bool {
        matches!(self, Protocol::Plugin { gather_ms: 0, .. })
    }

    /// Whether time may end a message.
    fn has_tails(&self) -> bool {
        matches!(self, Protocol::Chat { .. } | Protocol::Plugin { .. })
    }
}

/// The state of one conversation: 32 bytes while it is idle.
///
/// Reply bytes leave in this order: the send queue first, then what the broadcast log holds behind
/// the cursor. A reply is therefore never queued before the lag has been moved in front of it
/// ([`settle`](Self::settle)), so no frame is ever torn apart by another.
#[derive(Debug)]
pub struct Session {
    /// What a connection has only while something is unfinished.
    buffers: Option<Box<Buffers>>,
    /// When the client last sent a byte, or took one of those it made wait.
    last_active_at: Millis,
    /// How much of the broadcast log the client has been sent, if it hears it.
    cursor: u64,
    /// Which of the conversations that have had this place in the table this is.
    generation: u32,
    tag: Tag,
}

/// Bytes that wait. Freed as soon as none do.
#[derive(Debug, Default)]
struct Buffers {
    input: Input,
    send: SendQueue,
}

/// Input that has not been acted on, and why.
#[derive(Debug, Default)]
struct Input {
    /// The beginning of a frame, or with `held` whole frames that must wait.
    recv: RecvBuffer,
    /// Runs while a frame has begun and nothing else waits: `recv` holds its beginning, or has held
    /// what is dropped of it.
    clock: Option<FrameClock>,
    /// `recv` may hold whole frames: their turn comes when replies have room again. It may also
    /// hold a mere beginning; its clock then starts when that is found out, in the client's favour.
    held: bool,
    /// Nothing is to come behind what is held: an unfinished message at its end is one.
    is_last: bool,
    /// The first of them is a broadcast the log has no room for yet.
    waits_for_fanout: bool,
}

impl Session {
    /// A conversation that begins now. It will be sent broadcasts from the log's head on, or where
    /// clients have to join first, from when it joins.
    #[must_use]
    pub fn new(generation: u32, protocol: &Protocol, now: Millis, log: &BroadcastLog) -> Self {
        let tag = match protocol {
            Protocol::Chat { .. } => Tag::STRANGER,
            _ => Tag::SUBSCRIBER,
        };
        Session { buffers: None, last_active_at: now, cursor: log.head(), generation, tag }
    }

    /// Which of the conversations that have had this place in the table this is.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Takes what a read returned; `is_dry` is that nothing more can be read without waiting.
    /// Replies go to `ctx.out`, after what the log still owes.
    pub fn on_bytes(
        &mut self,
        protocol: &Protocol,
        bytes: &[u8],
        is_dry: bool,
        now: Millis,
        ctx: &mut Context<'_>,
    ) -> Flow {
        debug_assert!(!self.holds_input(), "held frames come first");
        self.last_active_at = now;
        let is_last = is_dry && protocol.ends_when_dry();
        self.receive(protocol, Arrival { bytes, now, is_last }, ctx)
    }

    /// No more is waited for: what has come is all there is of the last message. For a session that
    /// [`has_tail`](Self::has_tail).
    pub fn on_end(&mut self, protocol: &Protocol, now: Millis, ctx: &mut Context<'_>) -> Flow {
        self.receive(protocol, Arrival { bytes: &[], now, is_last: true }, ctx)
    }

    /// Takes up frames that were held back.
    pub fn on_resume(&mut self, protocol: &Protocol, now: Millis, ctx: &mut Context<'_>) -> Flow {
        let Some(Buffers { input, .. }) = self.buffers.as_deref_mut() else {
            return Flow::Continue;
        };
        if !mem::take(&mut input.held) {
            return Flow::Continue;
        }
        input.waits_for_fanout = false;
        let is_last = mem::take(&mut input.is_last);
        self.receive(protocol, Arrival { bytes: &[], now, is_last }, ctx)
    }

    fn receive(
        &mut self,
        protocol: &Protocol,
        arrival: Arrival<'_>,
        ctx: &mut Context<'_>,
    ) -> Flow {
        if self.settle(&ctx.room.log, ctx.out).is_err() {
            return Flow::Close(CloseReason::SlowConsumer);
        }
        match protocol {
            Protocol::Command { frame_len_max } => self.feed(
                &mut CommandDecoder::new(*frame_len_max),
                arrival,
                ctx,
                |frame, _, ctx| handler::on_command(frame, ctx),
                handler::on_command_error,
            ),
            Protocol::Prefixed => self.feed(
                &mut PrefixedDecoder,
                arrival,
                ctx,
                |payload, _, ctx| handler::on_prefixed(payload, ctx),
                |never, _| match never {},
            ),
            Protocol::Raw { prefix } => {
                handler::on_raw(prefix, arrival.bytes, ctx);
                Flow::Continue
            }
            Protocol::Chat { lang } => {
                let mut decoder: LineDecoder = self.tag.line_decoder();
                let flow = self.feed(
                    &mut decoder,
                    arrival,
                    ctx,
                    |line, tag, ctx| chat::on_line(line, *lang, tag, ctx),
                    |never, _| match never {},
                );
                self.tag.keep_line_decoder(decoder);
                flow
            }
            Protocol::Plugin { package_len_max, .. } => {
                let len_max = *package_len_max as usize;
                let mut decoder = PackageDecoder::new(len_max, self.tag.is_skipping());
                let flow = self.feed(
                    &mut decoder,
                    arrival,
                    ctx,
                    |package, _, ctx| handler::on_package(package, ctx),
                    |never, _| match never {},
                );
                self.tag.set_skipping(decoder.skipping);
                flow
            }
        }
    }

    /// Has frames answered: those of which something was kept, then those that came whole, in place.
    ///
    /// Stops early when the replies fill the send queue's share, or when the handler asks to wait;
    /// what is left is then held.
    fn feed<D: Decoder>(
        &mut self,
        decoder: &mut D,
        arrival: Arrival<'_>,
        ctx: &mut Context<'_>,
        on_frame: impl FnMut(D::Frame<'_>, &mut Tag, &mut Context<'_>) -> Flow,
        on_error: impl FnOnce(D::Error, &mut Context<'_>) -> Flow,
    ) -> Flow {
        let mut cutter = Cutter {
            decoder,
            on_frame,
            is_last: arrival.is_last,
            out_len_max: self.reply_room(&ctx.room.log, ctx.limits),
            taken: 0,
        };
        let mut kept = self.take_input();
        let mut rest = arrival.bytes;
        let cut = loop {
            let in_place = kept.recv.is_empty();
            if in_place {
                rest = &rest[cutter.decoder.skip(rest)..];
            } else {
                let missing = cutter.decoder.missing(&kept.recv);
                let (top_up, later) = rest.split_at(missing.min(rest.len()));
                kept.recv.extend(top_up);
                ctx.stats.kept_bytes_total += top_up.len() as u64;
                rest = later;
            }
            let input = if in_place { rest } else { &kept.recv };
            match cutter.cut(input, &mut self.tag, ctx) {
                Cut::Taken(len) if in_place => rest = &rest[len..],
                Cut::Taken(len) => kept.recv.consume(len),
                Cut::Unfinished if !in_place && !rest.is_empty() => {}
                stopped => break stopped,
            }
        };
        // Nobody else appended meanwhile: what is new in the log is this session's own.
        if self.tag.hears() {
            self.cursor = ctx.room.log.head();
        }
        if cutter.taken > 0 {
            kept.clock = None;
        }
        let flow = match cut {
            Cut::Taken(_) | Cut::Unfinished => Flow::Continue,
            Cut::Held(flow) => {
                kept.held = true;
                kept.is_last = arrival.is_last;
                kept.waits_for_fanout = flow == Flow::Wait;
                flow
            }
            // What is left will never be looked at.
            Cut::Over(flow) => return flow,
            Cut::Broken(error) => return on_error(error, ctx),
        };
        kept.recv.extend(rest);
        ctx.stats.kept_bytes_total += rest.len() as u64;
        kept.wind_clock(&arrival, cutter.decoder.is_midway());
        self.put_input(kept);
        flow
    }

    fn take_input(&mut self) -> Input {
        self.buffers.as_mut().map_or_else(Input::default, |buffers| mem::take(&mut buffers.input))
    }

    fn put_input(&mut self, input: Input) {
        if input.is_idle() {
            self.free_if_empty();
        } else {
            self.buffers.get_or_insert_default().input = input;
        }
    }

    /// The conversation ends: unfinished and held input is dropped.
    pub fn drop_input(&mut self) {
        if let Some(buffers) = &mut self.buffers {
            buffers.input = Input::default();
        }
        self.free_if_empty();
    }

    /// Input that has come and has not been acted on.
    #[must_use]
    pub fn kept_input(&self) -> &[u8] {
        self.buffers.as_ref().map_or(&[], |buffers| &buffers.input.recv)
    }

    /// Whether whole frames wait for [`on_resume`](Self::on_resume).
    #[must_use]
    pub fn holds_input(&self) -> bool {
        self.buffers.as_ref().is_some_and(|buffers| buffers.input.held)
    }

    /// Whether the first held frame is a broadcast the log has no room for.
    #[must_use]
    pub fn waits_for_fanout(&self) -> bool {
        self.buffers.as_ref().is_some_and(|buffers| buffers.input.waits_for_fanout)
    }

    /// The fan-out has come round: a held broadcast may be tried again.
    pub fn on_fanout_done(&mut self) {
        if let Some(buffers) = &mut self.buffers {
            buffers.input.waits_for_fanout = false;
        }
    }

    /// Whether the client has to read before the server reads from it again: what waits for it,
    /// `out_len` reply bytes at hand included, has reached the high-water mark.
    #[must_use]
    pub fn is_backlogged(&self, log: &BroadcastLog, out_len: usize, limits: &Limits) -> bool {
        out_len >= self.reply_room(log, limits)
    }

    /// Bytes of replies at which the client is backlogged.
    fn reply_room(&self, log: &BroadcastLog, limits: &Limits) -> usize {
        let waiting = self.lag(log).saturating_add(self.unsent().len() as u64);
        let room = (limits.send_queue_high_water() as u64).saturating_sub(waiting);
        // No more than the high-water mark, which is a `usize`.
        room as usize
    }

    /// Stops the clock of an unfinished frame while the server is not reading.
    pub fn set_paused(&mut self, paused: bool, now: Millis) {
        if let Some(clock) = self.buffers.as_mut().and_then(|buffers| buffers.input.clock.as_mut())
        {
            clock.set_paused(paused, now);
        }
    }

    /// Whether an unfinished message counts as one where no more of it is waited for. Unless
    /// `is_end` says that none can come, one of a client that ends its messages does not.
    #[must_use]
    pub fn has_tail(&self, protocol: &Protocol, is_end: bool) -> bool {
        let counts = protocol.has_tails() && (is_end || !self.tag.ends_lines());
        counts && self.buffers.as_ref().is_some_and(|buffers| buffers.input.clock.is_some())
    }

    /// When [`on_deadline`](Self::on_deadline) has something to say if nothing happens until then.
    /// `idle_ms` of 0 means never idle.
    #[must_use]
    pub fn deadline(&self, protocol: &Protocol, idle_ms: u64, limits: &Limits) -> Option<Millis> {
        let late = self.late_at(protocol, limits);
        let idle = (idle_ms > 0).then(|| self.last_active_at.after(idle_ms));
        match (late, idle) {
            (Some(late), Some(idle)) => Some(late.min(idle)),
            (late, idle) => late.or(idle),
        }
    }

    /// Time has passed: is an unfinished frame late, or the client idle?
    pub fn on_deadline(
        &mut self,
        protocol: &Protocol,
        idle_ms: u64,
        now: Millis,
        ctx: &mut Context<'_>,
    ) -> Flow {
        if self.late_at(protocol, ctx.limits).is_some_and(|at| at <= now) {
            return if protocol.has_tails() {
                self.on_end(protocol, now, ctx)
            } else {
                self.on_late_frame(protocol, now, ctx)
            };
        }
        if self.deadline(protocol, idle_ms, ctx.limits).is_some_and(|at| at <= now) {
            return Flow::Close(CloseReason::IdleTimeout);
        }
        Flow::Continue
    }

    fn on_late_frame(&mut self, protocol: &Protocol, now: Millis, ctx: &mut Context<'_>) -> Flow {
        if let Protocol::Command { .. } = protocol {
            let age = self.frame_age_secs(now);
            if self.settle(&ctx.room.log, ctx.out).is_err() {
                return Flow::Close(CloseReason::SlowConsumer);
            }
            ctx.reply_error(format_args!("frame incomplete after {age} s"));
        }
        Flow::Close(CloseReason::FrameTimeout)
    }

    /// When something is to be done about what is unfinished: where messages have tails, when the
    /// client will have been quiet for long enough for one, elsewhere when the frame is late. A chat
    /// client that has once ended a message is waited for: a slow network may split its lines, and
    /// half a line is no worse than a client that says nothing.
    fn late_at(&self, protocol: &Protocol, limits: &Limits) -> Option<Millis> {
        let clock = self.buffers.as_ref()?.input.clock?;
        match protocol {
            Protocol::Chat { .. } if self.tag.ends_lines() => None,
            Protocol::Chat { .. } => clock.quiet_at(TAIL_QUIET_MS),
            Protocol::Plugin { gather_ms, .. } => clock.quiet_at(*gather_ms),
            _ => clock.late_at(limits.frame_timeout_ms),
        }
    }

    fn frame_age_secs(&self, now: Millis) -> u64 {
        let clock = self.buffers.as_ref().and_then(|buffers| buffers.input.clock);
        clock.map_or(0, |clock| clock.age_secs(now))
    }

    /// Moves what the log still owes in front of the replies to come.
    ///
    /// # Errors
    ///
    /// The cursor has fallen off the log.
    pub fn settle(&mut self, log: &BroadcastLog, out: &mut Vec<u8>) -> Result<(), FellBehind> {
        self.settle_to(log.head(), log, out)
    }

    /// The same, of what lies below `offset` only.
    ///
    /// # Errors
    ///
    /// The cursor has fallen off the log.
    pub fn settle_to(
        &mut self,
        offset: u64,
        log: &BroadcastLog,
        out: &mut Vec<u8>,
    ) -> Result<(), FellBehind> {
        if self.tag.hears() && self.cursor < offset {
            // The difference lies in memory, so it fits.
            let mut len = (offset - self.cursor) as usize;
            for part in log.since(self.cursor).ok_or(FellBehind)? {
                let taken = len.min(part.len());
                out.extend_from_slice(&part[..taken]);
                len -= taken;
            }
            self.cursor = offset;
        }
        Ok(())
    }

    /// What of the log the client has not been sent, in at most two pieces.
    ///
    /// # Errors
    ///
    /// The cursor has fallen off the log.
    pub fn owed<'a>(&self, log: &'a BroadcastLog) -> Result<[&'a [u8]; 2], FellBehind> {
        if self.tag.hears() { log.since(self.cursor).ok_or(FellBehind) } else { Ok([&[], &[]]) }
    }

    /// How many bytes of the log the client has not been sent.
    #[must_use]
    pub fn lag(&self, log: &BroadcastLog) -> u64 {
        if self.tag.hears() { log.head().saturating_sub(self.cursor) } else { 0 }
    }

    /// The conversation leaves its room: it hears nothing more. Returns who it was there.
    pub fn leave(&mut self) -> Option<chat::MemberKey> {
        self.tag.leave()
    }

    /// Who the client is in its chat, if it has a nickname.
    #[must_use]
    pub fn member(&self) -> Option<chat::MemberKey> {
        self.tag.member()
    }

    /// How much of the broadcast log the client has been sent, as an absolute offset.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// `n` more bytes of the log have been sent.
    pub fn advance_cursor(&mut self, n: usize) {
        self.cursor += n as u64;
    }

    /// Replies the socket has not taken.
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        self.buffers.as_ref().map_or(&[], |buffers| &buffers.send)
    }

    /// Keeps replies until the socket takes them.
    pub fn queue(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.buffers.get_or_insert_default().send.push(bytes);
        }
    }

    /// The socket took the first `n` unsent bytes.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    pub fn on_sent(&mut self, n: usize) {
        if let Some(buffers) = &mut self.buffers {
            buffers.send.consume(n);
        }
        self.free_if_empty();
    }

    /// The client took bytes it had made wait.
    pub fn touch(&mut self, now: Millis) {
        self.last_active_at = now;
    }

    /// When the client last showed a sign of life.
    #[must_use]
    pub fn last_active_at(&self) -> Millis {
        self.last_active_at
    }

    /// Whether anything is kept on the heap for the conversation: only while input or replies wait.
    #[must_use]
    pub fn owns_memory(&self) -> bool {
        self.buffers.is_some()
    }

    fn free_if_empty(&mut self) {
        if self.buffers.as_ref().is_some_and(|b| b.input.is_idle() && b.send.is_empty()) {
            self.buffers = None;
        }
    }
}

impl Input {
    /// Starts the clock of a frame that has begun, or notes that more of it came. `midway` tells of
    /// a frame of which nothing is kept.
    fn wind_clock(&mut self, arrival: &Arrival<'_>, midway: bool) {
        let begun = self.recv.len();
        match &mut self.clock {
            _ if self.held || (begun == 0 && !midway) => self.clock = None,
            None => self.clock = Some(FrameClock::start(arrival.now, begun)),
            Some(clock) if !arrival.bytes.is_empty() => clock.progress(arrival.now, begun),
            Some(_) => {}
        }
    }

    fn is_idle(&self) -> bool {
        self.recv.is_empty() && self.clock.is_none()
    }
}

/// Cuts frames off a stream and has them answered, one after the other.
struct Cutter<'d, D, F> {
    decoder: &'d mut D,
    on_frame: F,
    /// Nothing comes behind what there is: an unfinished message is a message.
    is_last: bool,
    /// Bytes of replies at hand that are enough.
    out_len_max: usize,
    /// Frames that have been answered.
    taken: usize,
}

/// What came of looking for a frame.
enum Cut<E> {
    /// One of so many bytes has been answered.
    Taken(usize),
    /// There is no whole one.
    Unfinished,
    /// What there is has to wait.
    Held(Flow),
    /// It was the last one.
    Over(Flow),
    /// No more will be found.
    Broken(E),
}

impl<D, F> Cutter<'_, D, F>
where
    D: Decoder,
    F: FnMut(D::Frame<'_>, &mut Tag, &mut Context<'_>) -> Flow,
{
    /// Looks for a frame at the start of `input`, and has it answered.
    // The body of the one loop an echo goes through: a call would cost a fifth of it.
    #[inline(always)]
    fn cut(&mut self, input: &[u8], tag: &mut Tag, ctx: &mut Context<'_>) -> Cut<D::Error> {
        if ctx.out.len() >= self.out_len_max {
            return Cut::Held(Flow::Continue);
        }
        let found = match self.decoder.decode(input) {
            Ok(None) if self.is_last => {
                self.decoder.finish(input).map(|frame| (frame, input.len()))
            }
            Ok(found) => found,
            Err(error) => return Cut::Broken(error),
        };
        let Some((frame, len)) = found else { return Cut::Unfinished };
        ctx.stats.frames_in_total += 1;
        match (self.on_frame)(frame, tag, ctx) {
            Flow::Continue => {
                self.taken += 1;
                Cut::Taken(len)
            }
            close @ Flow::Close(_) => Cut::Over(close),
            again => {
                // The frame will come again, and be counted then.
                ctx.stats.frames_in_total -= 1;
                Cut::Held(again)
            }
        }
    }
}

/// What comes to a session at a time.
struct Arrival<'a> {
    bytes: &'a [u8],
    now: Millis,
    /// Nothing will come behind it, for now or for ever: an unfinished message is a message.
    is_last: bool,
}

/// A subscriber's cursor has fallen off the broadcast log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FellBehind;
