//! Replies found in received bytes.

use crate::codec::Never;
use crate::codec::command::DecodeError;

/// Answers and deliveries found in received bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    /// Bytes consumed; the rest begins an incomplete message.
    pub(super) consumed: usize,
    pub(super) answers: u32,
    pub(super) deliveries: u32,
    /// The error after which the connection cannot go on.
    pub(super) error: Option<ReplyError>,
}

/// An error in a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReplyError {
    /// The target refused, with this text.
    Refused(String),
    /// The reply answers no request.
    Unexpected,
    /// The reply is not the one that the user gave, for this reason.
    Mismatch(String),
}

impl From<Never> for ReplyError {
    fn from(never: Never) -> Self {
        match never {}
    }
}

impl From<DecodeError> for ReplyError {
    fn from(_: DecodeError) -> Self {
        ReplyError::Unexpected
    }
}
