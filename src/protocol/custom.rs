//! Embedder protocols, by dynamic dispatch: a trait over frames and replies. Only listeners that
//! speak such a protocol pay for it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use log::{debug, error};

use super::{ClientState, CloseReason, Context, Departure, Flow, Handler, Room, Shared};
use crate::address::Peer;
use crate::codec::Decoder;
use crate::conn_id::ConnId;
use crate::escape::Excerpt;

/// Longest frame unless [`Service::frame_len_max`] says otherwise, in bytes.
const FRAME_LEN_MAX: usize = 1 << 20;

/// Cost of a frame for its client's visit besides its bytes: three dynamic calls.
const FRAME_COST_BYTES: usize = 64;

/// A protocol of the embedder's own: it finds frames in a stream, and answers them.
///
/// The server does the rest: it buffers unfinished frames, closes clients that leave one
/// unfinished, writes all replies of a turn at once, and stops reading from clients that do not
/// take them. One service serves all clients of a listener, on the loop's thread, so a method that
/// blocks stops every client. A method that panics costs the connection it was called for.
///
/// A service answers clients one by one: it cannot push bytes to other clients or broadcast. It has
/// no say where the server gives up on a client: [`Framing::Invalid`], a frame that is not finished
/// in time, and a server at its connection limit disconnect the client without any reply.
/// [`EventLoop::bind`](crate::EventLoop::bind) sets no idle timeout; for one, bind a
/// [`TcpAcceptor`](crate::TcpAcceptor) and add it with a
/// [`ListenerConfig`](crate::ListenerConfig).
///
/// ```
/// use mynah::{ConnId, Framing, Next, Replies, Service};
///
/// /// Answers each line with its length.
/// struct Measure;
///
/// impl Service for Measure {
///     fn find_frame(&self, input: &[u8]) -> Framing {
///         match input.iter().position(|&byte| byte == b'\n') {
///             Some(at) => Framing::Frame { len: at + 1 },
///             None => Framing::Incomplete { needed: 1 },
///         }
///     }
///
///     fn on_frame(&mut self, _: ConnId, frame: &[u8], replies: &mut Replies<'_>) -> Next {
///         replies.push(format!("{}\n", frame.len() - 1).as_bytes());
///         Next::Continue
///     }
/// }
///
/// assert_eq!(Measure.find_frame(b"ab\ncd"), Framing::Frame { len: 3 });
/// ```
pub trait Service {
    /// Looks for a frame at the start of `input`, which is not empty and begins with the first byte
    /// of a frame.
    ///
    /// Called again from the start when more has come, so it keeps nothing: reading a header again
    /// costs less than remembering it for each of a million clients.
    fn find_frame(&self, input: &[u8]) -> Framing;

    /// Answers `frame`, whole as [`find_frame`](Self::find_frame) cut it.
    fn on_frame(&mut self, client: ConnId, frame: &[u8], replies: &mut Replies<'_>) -> Next;

    /// A client has connected; `replies` may greet it.
    fn on_connect(&mut self, client: ConnId, addr: Peer, replies: &mut Replies<'_>) -> Next {
        let _ = (client, addr, replies);
        Next::Continue
    }

    /// A client has disconnected, or is about to be; no more of its frames come.
    fn on_disconnect(&mut self, client: ConnId) {
        let _ = client;
    }

    /// Longest frame, in bytes; a client that sends a longer one is disconnected without any reply.
    fn frame_len_max(&self) -> usize {
        FRAME_LEN_MAX
    }
}

/// Result of [`Service::find_frame`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// The first `len` bytes are a frame.
    Frame {
        /// From 1 to the length of the input; anything else disconnects the client.
        len: usize,
    },
    /// A frame has begun.
    Incomplete {
        /// Lower bound of missing bytes, which sizes the buffer; 0 counts as 1.
        /// [`find_frame`](Service::find_frame) may be called again before they have arrived.
        needed: usize,
    },
    /// The input cannot be cut into frames: the client is disconnected without any reply.
    Invalid,
}

/// The next step of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Its next frame is answered.
    Continue,
    /// It is disconnected once its replies are sent.
    Close,
}

impl From<Next> for Flow {
    fn from(next: Next) -> Self {
        match next {
            Next::Continue => Flow::Continue,
            Next::Close => Flow::Close(CloseReason::Quit),
        }
    }
}

/// The replies to one client, in order.
#[derive(Debug)]
pub struct Replies<'a>(&'a mut Vec<u8>);

impl Replies<'_> {
    /// Appends bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// A [`Service`] as a listener's protocol.
pub struct CustomProtocol(Box<dyn Service>);

impl CustomProtocol {
    /// The protocol of `service`.
    pub fn new(service: impl Service + 'static) -> Self {
        CustomProtocol(Box::new(service))
    }

    /// Validates the service's result: a frame lies within the input, and an incomplete one needs
    /// at least one byte and no more than the longest frame has.
    fn find(&self, input: &[u8]) -> Framing {
        if input.is_empty() {
            return Framing::Incomplete { needed: 1 };
        }
        let len_max = self.0.frame_len_max();
        match self.0.find_frame(input) {
            Framing::Frame { len } if len == 0 || len > input.len().min(len_max) => {
                Framing::Invalid
            }
            Framing::Incomplete { needed } => {
                let needed = needed.max(1);
                let fits = needed <= len_max.saturating_sub(input.len());
                if fits { Framing::Incomplete { needed } } else { Framing::Invalid }
            }
            found => found,
        }
    }
}

impl fmt::Debug for CustomProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomProtocol")
    }
}

/// The service found no frame in the input, or one that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FramingError;

/// The frames of a service; [`CustomProtocol`] finds them itself, where it has the service.
#[derive(Debug)]
pub struct ServiceDecoder;

impl Decoder for ServiceDecoder {
    type Frame<'a> = &'a [u8];
    type Error = FramingError;

    fn decode<'a>(&mut self, _: &'a [u8]) -> Result<Option<(&'a [u8], usize)>, FramingError> {
        Err(FramingError)
    }

    fn bytes_needed(&self, _: &[u8]) -> usize {
        0
    }
}

impl Handler for CustomProtocol {
    type Decoder = ServiceDecoder;

    fn decoder(&self, _: ClientState) -> ServiceDecoder {
        ServiceDecoder
    }

    fn decode<'a>(
        &self,
        _: &mut ServiceDecoder,
        input: &'a [u8],
    ) -> Result<Option<(&'a [u8], usize)>, FramingError> {
        match self.find(input) {
            Framing::Frame { len } => Ok(Some((&input[..len], len))),
            Framing::Incomplete { .. } => Ok(None),
            Framing::Invalid => Err(FramingError),
        }
    }

    fn bytes_needed(&self, _: &ServiceDecoder, input: &[u8]) -> usize {
        match self.find(input) {
            Framing::Incomplete { needed } => needed,
            Framing::Frame { .. } | Framing::Invalid => 0,
        }
    }

    fn on_message(&mut self, frame: &[u8], _: &mut ClientState, ctx: &mut Context<'_>) -> Flow {
        ctx.shared.charge(FRAME_COST_BYTES);
        let mut replies = Replies(&mut ctx.shared.out);
        let next = self.0.on_frame(ctx.id, frame, &mut replies);
        debug!("{} frame: {}", ctx.id, Excerpt(frame));
        next.into()
    }

    fn on_connect(&mut self, id: ConnId, peer: Peer, shared: &mut Shared) -> Flow {
        self.0.on_connect(id, peer, &mut Replies(&mut shared.out)).into()
    }

    /// The connection is closing already, so a panic costs nothing more.
    fn on_leave(&mut self, departure: Departure, _: &mut Room, _: &mut Shared) {
        let notify = AssertUnwindSafe(|| self.0.on_disconnect(departure.id));
        if catch_unwind(notify).is_err() {
            error!("{} a service panicked on its disconnect", departure.id);
        }
    }

    fn frame_len_max(&self, _: usize) -> usize {
        self.0.frame_len_max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finds frames as the first byte of the input says.
    struct Scripted;

    impl Service for Scripted {
        fn find_frame(&self, input: &[u8]) -> Framing {
            match input[0] {
                b'i' => Framing::Invalid,
                b'n' => Framing::Incomplete { needed: usize::from(input[1]) },
                len => Framing::Frame { len: usize::from(len) },
            }
        }

        fn on_frame(&mut self, _: ConnId, _: &[u8], _: &mut Replies<'_>) -> Next {
            Next::Close
        }

        fn frame_len_max(&self) -> usize {
            4
        }
    }

    fn decode(input: &[u8]) -> Result<Option<(&[u8], usize)>, FramingError> {
        CustomProtocol::new(Scripted).decode(&mut ServiceDecoder, input)
    }

    fn bytes_needed(input: &[u8]) -> usize {
        CustomProtocol::new(Scripted).bytes_needed(&ServiceDecoder, input)
    }

    #[test]
    fn frame_lies_within_the_input_and_the_limit() {
        assert_eq!(decode(b"\x02xyz"), Ok(Some((&b"\x02x"[..], 2))));
        assert_eq!(decode(b"\x04xyz!"), Ok(Some((&b"\x04xyz"[..], 4))));
        assert_eq!(decode(b"\x05xyz!"), Err(FramingError), "over the limit");
        assert_eq!(decode(b"\x03x"), Err(FramingError), "beyond the input");
        assert_eq!(decode(b"\0x"), Err(FramingError), "no progress");
        assert_eq!(decode(b"i"), Err(FramingError));
        assert_eq!(decode(b""), Ok(None));
    }

    #[test]
    fn incomplete_frame_needs_a_byte_and_fits_the_limit() {
        assert_eq!(bytes_needed(b""), 1);
        assert_eq!(bytes_needed(b"n\0"), 1);
        assert_eq!(bytes_needed(b"n\x02"), 2);
        assert_eq!(decode(b"n\x02"), Ok(None));
        assert_eq!(decode(b"n\x03"), Err(FramingError), "five bytes of four");
        assert_eq!(bytes_needed(b"n\x03"), 0);
        assert_eq!(decode(b"n\x01xy"), Err(FramingError), "it is at the limit");
    }
}
