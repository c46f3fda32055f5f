//! The loop that cuts frames off a stream and has them answered. Knows decoders and handlers, and of
//! the session only its tag.

use crate::buffer::{FrameClock, RecvBuffer};
use crate::clock::Millis;
use crate::codec::Decoder;
use crate::protocol::{ClientState, Context, Flow, Reversal};

/// What comes to a session at a time.
pub(super) struct Input<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) now: Millis,
    /// Nothing will come behind it, for now or for ever: an unfinished message is a message.
    pub(super) is_last: bool,
}

/// Input that has not been acted on, and why it is pending.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// The beginning of a frame, or with `deferred` whole frames that must wait.
    pub(super) recv: RecvBuffer,
    /// Runs while a frame has begun and nothing else waits: `recv` holds its beginning, or has held
    /// what is dropped of it.
    pub(super) clock: Option<FrameClock>,
    /// `recv` may hold whole frames: their turn comes when replies have room again. It may also
    /// hold a mere beginning; its clock then starts when that is found out, in the client's favour.
    pub(super) deferred: bool,
    /// Nothing is to come behind what is deferred: an unfinished message at its end is one.
    pub(super) is_last: bool,
    /// The first of them is a broadcast the log has no room for yet.
    pub(super) waits_for_fanout: bool,
    /// `recv` begins with one long REVERSE that is being worked on, a slice a visit.
    pub(super) reversal: Option<Box<Reversal>>,
}

impl Pending {
    /// Starts the clock of a frame that has begun, or notes that more of it came. `midway` tells of
    /// a frame of which nothing is kept.
    pub(super) fn update_frame_clock(&mut self, input: &Input<'_>, midway: bool) {
        let begun = self.recv.len();
        match &mut self.clock {
            _ if self.deferred || (begun == 0 && !midway) => self.clock = None,
            None => self.clock = Some(FrameClock::start(input.now, begun)),
            Some(clock) if !input.bytes.is_empty() => clock.progress(input.now, begun),
            Some(_) => {}
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.recv.is_empty() && self.clock.is_none()
    }
}

/// Cuts frames off a stream and has them answered, one after the other.
pub(super) struct FrameLoop<'d, D, F> {
    pub(super) decoder: &'d mut D,
    pub(super) on_frame: F,
    /// Nothing comes behind what there is: an unfinished message is a message.
    pub(super) is_last: bool,
    /// Frames that have been answered.
    pub(super) taken: usize,
}

/// What came of looking for a frame.
pub(super) enum FrameStep<E> {
    /// One of so many bytes has been answered.
    Taken(usize),
    /// There is no whole one.
    Unfinished,
    /// What there is has to wait.
    Deferred(Flow),
    /// It was the last one.
    Over(Flow),
    /// No more will be found.
    Broken(E),
}

impl<D, F> FrameLoop<'_, D, F>
where
    D: Decoder,
    F: FnMut(D::Frame<'_>, &mut ClientState, &mut Context<'_>) -> Flow,
{
    /// Looks for a frame at the start of `input`, and has it answered.
    // The body of the one loop an echo goes through: a call would cost a fifth of it.
    #[inline(always)]
    pub(super) fn step(
        &mut self,
        input: &[u8],
        tag: &mut ClientState,
        ctx: &mut Context<'_>,
    ) -> FrameStep<D::Error> {
        if ctx.out.len() >= ctx.reply_limit {
            return FrameStep::Deferred(Flow::Continue);
        }
        let found = match self.decoder.decode(input) {
            Ok(None) if self.is_last => {
                self.decoder.decode_eof(input).map(|frame| (frame, input.len()))
            }
            Ok(found) => found,
            Err(error) => return FrameStep::Broken(error),
        };
        let Some((frame, len)) = found else { return FrameStep::Unfinished };
        ctx.stats.frames_in_total += 1;
        match (self.on_frame)(frame, tag, ctx) {
            Flow::Continue => {
                self.taken += 1;
                FrameStep::Taken(len)
            }
            close @ Flow::Close(_) => FrameStep::Over(close),
            again => {
                // The frame will come again, and be counted then.
                ctx.stats.frames_in_total -= 1;
                FrameStep::Deferred(again)
            }
        }
    }
}
