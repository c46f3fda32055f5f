//! The `raw` protocol: input is sent back, behind a prefix. With an empty prefix this is the echo
//! service of RFC 862.

use percent_encoding::percent_decode_str;

use super::{ClientState, Context, Flow, Handler, ProtocolDefaults, UrlProtocol};
use crate::codec::raw::RawDecoder;
use crate::escape::Excerpt;
use crate::limits::READ_BUFFER_BYTES;
use crate::setting::SettingError;

/// Prefix of a listener that has none of its own: that of the echo server mynah succeeds.
const PREFIX: &[u8] = b"Echo: ";

/// Longest `prefix=`, in bytes.
const PREFIX_BYTES_MAX: usize = 1024;

/// An unframed echo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawProtocol {
    /// Put before each answer.
    pub prefix: Vec<u8>,
}

impl Handler for RawProtocol {
    type Decoder = RawDecoder;
    const COUNTS_FRAMES: bool = false;

    fn decoder(&self, _: ClientState) -> RawDecoder {
        RawDecoder
    }

    fn on_message(&mut self, bytes: &[u8], _: &mut ClientState, ctx: &mut Context<'_>) -> Flow {
        // The line of the echo server that mynah succeeds.
        ctx.shared.connection_log.received(ctx.shared.now, ctx.id, Excerpt(bytes));
        ctx.shared.out.extend_from_slice(&self.prefix);
        ctx.shared.out.extend_from_slice(bytes);
        Flow::Continue
    }

    fn frame_len_max(&self, _: usize) -> usize {
        self.prefix.len() + READ_BUFFER_BYTES
    }
}

impl UrlProtocol for RawProtocol {
    const NAME: &'static str = "raw";
    const DEFAULT_PORT: u16 = 9999;
    const IS_DEFAULT: bool = true;
    const SUMMARY: &'static str = "'Echo: ' and what was received";
    const KEYS: &'static [&'static str] = &["prefix"];

    fn with_defaults(_: &ProtocolDefaults) -> Self {
        RawProtocol { prefix: PREFIX.to_vec() }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), SettingError> {
        match key {
            "prefix" => self.prefix = prefix(value)?,
            _ => return Err(SettingError::Unknown),
        }
        Ok(())
    }
}

/// Decodes `%41` and the like (RFC 3986, 2.1). A `%` without two hexadecimal digits is an error:
/// guessing would change what is sent.
fn prefix(value: &str) -> Result<Vec<u8>, SettingError> {
    let bad =
        || SettingError::NotPercentEncoded { value: value.to_owned(), len_max: PREFIX_BYTES_MAX };
    for (at, _) in value.match_indices('%') {
        let digits = value.as_bytes().get(at + 1..at + 3).ok_or_else(bad)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(bad());
        }
    }
    let decoded: Vec<u8> = percent_decode_str(value).collect();
    if decoded.len() > PREFIX_BYTES_MAX { Err(bad()) } else { Ok(decoded) }
}
