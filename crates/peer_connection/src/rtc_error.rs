//! Errors with W3C's names (webrtc-pc section 11, WebIDL `DOMException`).

use thiserror::Error;

/// What kind of error it is, by its W3C name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RtcErrorKind {
    /// The object is in a state that does not allow the call.
    InvalidStateError,
    /// The object does not support the operation or argument, for example a URL without credentials.
    InvalidAccessError,
    /// The object cannot be modified so.
    InvalidModificationError,
    /// A string did not parse.
    SyntaxError,
    /// A number is out of range.
    RangeError,
    /// An argument is not of the kind the call takes.
    TypeError,
    /// The operation is not supported.
    NotSupportedError,
    /// The operation failed for a reason of its own.
    OperationError,
    /// Writing to a network failed.
    NetworkError,
}

impl RtcErrorKind {
    /// The name as JavaScript shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidStateError => "InvalidStateError",
            Self::InvalidAccessError => "InvalidAccessError",
            Self::InvalidModificationError => "InvalidModificationError",
            Self::SyntaxError => "SyntaxError",
            Self::RangeError => "RangeError",
            Self::TypeError => "TypeError",
            Self::NotSupportedError => "NotSupportedError",
            Self::OperationError => "OperationError",
            Self::NetworkError => "NetworkError",
        }
    }
}

/// A failed call. It changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}: {message}", kind.as_str())]
pub struct RtcError {
    /// Its name.
    pub kind: RtcErrorKind,
    /// What was wrong with what.
    pub message: String,
}

impl RtcError {
    /// An error of `kind`.
    pub fn new(kind: RtcErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn closed() -> Self {
        Self::invalid_state("the connection is closed")
    }

    pub(crate) fn invalid_state(message: impl Into<String>) -> Self {
        Self::new(RtcErrorKind::InvalidStateError, message)
    }

    pub(crate) fn invalid_access(message: impl Into<String>) -> Self {
        Self::new(RtcErrorKind::InvalidAccessError, message)
    }

    pub(crate) fn operation(message: impl Into<String>) -> Self {
        Self::new(RtcErrorKind::OperationError, message)
    }

    pub(crate) fn type_error(message: impl Into<String>) -> Self {
        Self::new(RtcErrorKind::TypeError, message)
    }

    pub(crate) fn syntax(message: impl Into<String>) -> Self {
        Self::new(RtcErrorKind::SyntaxError, message)
    }
}
