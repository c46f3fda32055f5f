//! The `command` protocol: a command byte, a big-endian `u32` length, then the payload.
//!
//! ```text
//!  0        1        2        3        4        5
//! +--------+--------+--------+--------+--------+----------------
//! |command |   payload length, u32 big-endian  | payload …
//! +--------+--------+--------+--------+--------+----------------
//! ```

use core::fmt;

use bytes::BufMut;

use super::Decoder;

/// Bytes of a header.
pub const HEADER_LEN: usize = 5;

/// Makes [`Command`] of the list of codes: a line here is a command that can be told from others.
macro_rules! commands {
    ($($(#[doc = $doc:literal])* $(#[cfg($cfg:meta)])?
       $command:ident = $code:literal $name:literal,)*) => {
        /// The command of a frame: a request or the kind of a reply.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Command {
            $($(#[doc = $doc])* $(#[cfg($cfg)])? $command,)*
            /// Any other code. The codec parses it, the protocol decides.
            Unknown(u8),
        }

        impl Command {
            /// The byte on the wire.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self {
                    $($(#[cfg($cfg)])? Command::$command => $code,)*
                    Command::Unknown(code) => code,
                }
            }

            const fn from_code(code: u8) -> Self {
                match code {
                    $($(#[cfg($cfg)])? $code => Command::$command,)*
                    code => Command::Unknown(code),
                }
            }
        }

        impl fmt::Display for Command {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $($(#[cfg($cfg)])? Command::$command => f.write_str($name),)*
                    Command::Unknown(code) => write!(f, "command {code}"),
                }
            }
        }
    };
}

commands! {
    /// Sends the payload back. Replies to ECHO, REVERSE, BROADCAST and STATUS carry it too.
    Echo = 1 "ECHO",
    /// Sends the text back, reversed by Unicode scalar value.
    Reverse = 2 "REVERSE",
    /// Closes the connection once earlier replies are sent.
    Quit = 3 "QUIT",
    /// Hands the payload to every other connection of the listener.
    Broadcast = 4 "BROADCAST",
    /// Logs in to an account, with `NAME` NUL `PASSWORD`.
    #[cfg(feature = "accounts")]
    Login = 5 "LOGIN",
    /// Adds an account, with `NAME` NUL `PASSWORD`, and logs in to it.
    #[cfg(feature = "accounts")]
    Register = 6 "REGISTER",
    /// Reports the server's counters.
    Status = 7 "STATUS",
    /// The reason why the last request failed; only ever sent by the server.
    Error = 255 "ERROR",
}

impl From<u8> for Command {
    #[inline]
    #[allow(clippy::indexing_slicing, reason = "there is an entry for every byte")]
    fn from(code: u8) -> Self {
        BY_CODE[usize::from(code)]
    }
}

/// The command of each byte. One load, where a match takes six instructions of some twenty in which
/// a frame is found.
static BY_CODE: [Command; 256] = by_code();

#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "it is done at compile time, for every byte"
)]
const fn by_code() -> [Command; 256] {
    let mut commands = [Command::from_code(u8::MAX); 256];
    let mut code = 0;
    while code < u8::MAX {
        commands[code as usize] = Command::from_code(code);
        code += 1;
    }
    commands
}

/// The first five bytes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The command.
    pub command: Command,
    /// Bytes of payload that follow.
    pub len: u32,
}

impl Header {
    /// The header of a frame that carries `payload`.
    ///
    /// # Panics
    ///
    /// If the payload is longer than `u32::MAX` bytes. No peer can cause that: the decoder's limit
    /// on its frames is lower.
    #[must_use]
    pub fn for_payload(command: Command, payload: &[u8]) -> Self {
        let len = u32::try_from(payload.len()).expect("payloads are bounded far below 4 GiB");
        Header { command, len }
    }

    /// The header at the start of `input`, if all of it is there.
    #[must_use]
    pub fn parse(input: &[u8]) -> Option<Self> {
        let ([code, len @ ..], _) = input.split_first_chunk::<HEADER_LEN>()?;
        Some(Header { command: Command::from(*code), len: u32::from_be_bytes(*len) })
    }

    /// The bytes on the wire.
    #[must_use]
    pub const fn encode(self) -> [u8; HEADER_LEN] {
        let [a, b, c, d] = self.len.to_be_bytes();
        [self.command.code(), a, b, c, d]
    }
}

/// One whole message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The command.
    pub command: Command,
    /// Payload, 0 to the decoder's limit bytes.
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// Appends the frame to `out`.
    ///
    /// # Panics
    ///
    /// As [`Header::for_payload`].
    #[inline]
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&Header::for_payload(self.command, self.payload).encode());
        out.put_slice(self.payload);
    }
}

/// The reason a stream of frames cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// A header declares more payload than is allowed.
    FrameTooLarge {
        /// Bytes declared.
        len: u32,
        /// Bytes allowed.
        max: u32,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DecodeError::FrameTooLarge { len, max } = self;
        write!(f, "frame of {len} bytes exceeds the limit of {max}")
    }
}

impl core::error::Error for DecodeError {}

/// Finds [`Frame`]s in a stream of bytes.
///
/// ```
/// use mynah::internal::codec::{Decoder, command::{Command, CommandDecoder, Frame}};
///
/// let mut decoder = CommandDecoder::new(1024);
/// assert_eq!(decoder.decode(b"\x01\0\0\0\x02h"), Ok(None));
/// let frame = Frame { command: Command::Echo, payload: b"hi" };
/// assert_eq!(decoder.decode(b"\x01\0\0\0\x02hi..."), Ok(Some((frame, 7))));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct CommandDecoder {
    /// Longest payload accepted, in bytes.
    payload_len_max: u32,
}

impl CommandDecoder {
    /// A decoder that refuses payloads longer than `payload_len_max` bytes.
    #[must_use]
    pub const fn new(payload_len_max: u32) -> Self {
        CommandDecoder { payload_len_max }
    }
}

impl Decoder for CommandDecoder {
    type Frame<'a> = Frame<'a>;
    type Error = DecodeError;

    #[inline]
    fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Option<(Frame<'a>, usize)>, DecodeError> {
        let Some(header) = Header::parse(input) else { return Ok(None) };
        // The length is judged on the header alone, before a byte of payload is waited for.
        if header.len > self.payload_len_max {
            return Err(DecodeError::FrameTooLarge { len: header.len, max: self.payload_len_max });
        }
        let end = encoded_len(header);
        let Some(payload) = input.get(HEADER_LEN..end) else { return Ok(None) };
        Ok(Some((Frame { command: header.command, payload }, end)))
    }

    fn bytes_needed(&self, input: &[u8]) -> usize {
        let end = match Header::parse(input) {
            // Too long a frame is an error, and `decode` can say so now.
            Some(header) if header.len > self.payload_len_max => return 0,
            Some(header) => encoded_len(header),
            None => HEADER_LEN,
        };
        end.saturating_sub(input.len())
    }
}

/// Bytes of header and payload together. On a machine whose `usize` cannot hold the sum, the frame
/// is one that never becomes complete.
fn encoded_len(header: Header) -> usize {
    usize::try_from(header.len).unwrap_or(usize::MAX).saturating_add(HEADER_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, len: u32) -> Vec<u8> {
        Header { command: Command::from(command), len }.encode().to_vec()
    }

    #[test]
    fn every_command_byte_survives_the_round_trip() {
        for code in 0..=255 {
            assert_eq!(Command::from(code).code(), code);
        }
    }

    #[test]
    fn frame_is_encoded_as_command_length_payload() {
        let mut out = Vec::new();
        Frame { command: Command::Broadcast, payload: b"abc" }.encode(&mut out);
        assert_eq!(out, b"\x04\x00\x00\x00\x03abc");
    }

    #[test]
    fn header_alone_completes_a_frame_of_no_payload() {
        let mut decoder = CommandDecoder::new(0);
        let frame = Frame { command: Command::Status, payload: b"" };
        assert_eq!(decoder.decode(b"\x07\0\0\0\0"), Ok(Some((frame, 5))));
    }

    #[test]
    fn frame_prefix_reports_the_bytes_it_needs() {
        let whole = b"\x01\0\0\0\x03abc";
        for cut in 0..whole.len() {
            let mut decoder = CommandDecoder::new(3);
            assert_eq!(decoder.decode(&whole[..cut]), Ok(None), "cut at {cut}");
            let next = if cut < 5 { 5 - cut } else { 8 - cut };
            assert_eq!(decoder.bytes_needed(&whole[..cut]), next, "cut at {cut}");
        }
        assert_eq!(CommandDecoder::new(3).bytes_needed(b"\x01\0\0\0\x03abcd"), 0);
    }

    #[test]
    fn limit_is_inclusive_and_judged_on_the_header() {
        for max in [0, 1, 255, 256, 65_535, 1 << 20, FRAME_LEN_LIMIT] {
            assert_eq!(CommandDecoder::new(max).decode(&header(1, max)).err(), None, "max {max}");
            let len = max + 1;
            let error = DecodeError::FrameTooLarge { len, max };
            assert_eq!(CommandDecoder::new(max).decode(&header(1, len)), Err(error), "max {max}");
        }
    }

    #[test]
    fn length_near_2_31_and_2_32_is_an_error() {
        for len in [(1 << 31) - 1, 1 << 31, (1 << 31) + 1, u32::MAX - 1, u32::MAX] {
            let mut decoder = CommandDecoder::new(FRAME_LEN_LIMIT);
            let error = DecodeError::FrameTooLarge { len, max: FRAME_LEN_LIMIT };
            assert_eq!(decoder.decode(&header(200, len)), Err(error));
            assert_eq!(decoder.bytes_needed(&header(200, len)), 0, "the error can be had at once");
        }
        let mut widest = CommandDecoder::new(u32::MAX);
        assert_eq!(widest.decode(&header(1, u32::MAX)), Ok(None));
        assert_eq!(widest.bytes_needed(&header(1, u32::MAX)), u32::MAX as usize);
    }

    #[test]
    fn error_text_is_the_one_clients_are_sent() {
        let error = DecodeError::FrameTooLarge { len: 9, max: 8 };
        assert_eq!(error.to_string(), "frame of 9 bytes exceeds the limit of 8");
    }

    #[test]
    fn command_displays_its_name_or_number() {
        let names = [0, 1, 2, 3, 4, 7, 255].map(|code| Command::from(code).to_string());
        let expected = ["command 0", "ECHO", "REVERSE", "QUIT", "BROADCAST", "STATUS", "ERROR"];
        assert_eq!(names, expected);
    }

    const FRAME_LEN_LIMIT: u32 = crate::limits::FRAME_LEN_LIMIT;
}
