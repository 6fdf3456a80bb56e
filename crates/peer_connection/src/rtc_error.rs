//! Errors with W3C's names (webrtc-pc section 11, WebIDL `DOMException`).

use peerstack_dtls::DtlsEngineError;
use thiserror::Error;

/// What kind of error it is, by its W3C name (WebIDL `DOMException`; webrtc-pc section 11).
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

/// What went wrong where WebRTC has more to say than a name (`RTCErrorDetailType`, webrtc-pc section 11.2). The two
/// of hardware encoders do not apply: there are no encoders here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RtcErrorDetail {
    /// A data channel failed, its transport did not: `data-channel-failure`.
    DataChannelFailure,
    /// A DTLS handshake failed, or the association with a fatal error: `dtls-failure`.
    DtlsFailure {
        /// The fatal alert that the peer, or somebody in its name, refused the handshake with (`receivedAlert`, RFC
        /// 8446 section 6), if one came. Of alerts that went out (`sentAlert`) the engines tell nothing.
        received_alert: Option<u8>,
    },
    /// The peer's certificate is none of those that its description announced (RFC 8122 section 6):
    /// `fingerprint-failure`.
    FingerprintFailure,
    /// The SCTP association ended: `sctp-failure`.
    SctpFailure {
        /// The first cause in the peer's ABORT (`sctpCauseCode`, RFC 9260 section 3.3.10), if it gave one.
        cause_code: Option<u16>,
    },
    /// SDP does not parse: `sdp-syntax-error`.
    SdpSyntaxError {
        /// The line, counted from 1 (`sdpLineNumber`).
        line_number: u32,
    },
}

impl RtcErrorDetail {
    /// The word of the W3C enum.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DataChannelFailure => "data-channel-failure",
            Self::DtlsFailure { .. } => "dtls-failure",
            Self::FingerprintFailure => "fingerprint-failure",
            Self::SctpFailure { .. } => "sctp-failure",
            Self::SdpSyntaxError { .. } => "sdp-syntax-error",
        }
    }
}

/// A failed call (`DOMException`, or `RTCError` of webrtc-pc section 11.1). It changed nothing, but for an offer of the
/// peer that was refused: one of ours that it met is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}: {message}", kind.as_str())]
#[non_exhaustive]
pub struct RtcError {
    /// Its name.
    pub kind: RtcErrorKind,
    /// What was wrong with what.
    pub message: String,
    /// More, where the specification has more (`RTCError`, webrtc-pc section 11.1: `errorDetail` and what goes with
    /// it).
    pub detail: Option<RtcErrorDetail>,
}

impl RtcError {
    /// An error of `kind`.
    pub fn new(kind: RtcErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), detail: None }
    }

    /// SDP that does not parse: an `RTCError`, whose name is `OperationError` (webrtc-pc section 4.4.1.4).
    pub(crate) fn sdp_syntax(message: impl Into<String>, line_number: usize) -> Self {
        let line_number = u32::try_from(line_number).unwrap_or(u32::MAX);
        let detail = Some(RtcErrorDetail::SdpSyntaxError { line_number });
        Self { detail, ..Self::new(RtcErrorKind::OperationError, message) }
    }

    /// What went wrong with a data channel (webrtc-pc section 6.2).
    pub(crate) fn data_channel(message: impl Into<String>, detail: RtcErrorDetail) -> Self {
        Self { detail: Some(detail), ..Self::operation(message) }
    }

    /// Why a DTLS transport failed (webrtc-pc section 5.5): an `RTCError`, whose name is `OperationError`.
    pub(crate) fn dtls(error: &DtlsEngineError) -> Self {
        let detail = match error {
            DtlsEngineError::Fingerprint => RtcErrorDetail::FingerprintFailure,
            DtlsEngineError::Alert(alert) => RtcErrorDetail::DtlsFailure { received_alert: Some(*alert) },
            _ => RtcErrorDetail::DtlsFailure { received_alert: None },
        };
        Self { detail: Some(detail), ..Self::operation(error.to_string()) }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// webrtc-pc section 11.2, `RTCErrorDetailType`.
    #[test]
    fn what_ends_dtls_has_a_detail() {
        let detail = |error: DtlsEngineError| {
            let error = RtcError::dtls(&error);
            assert_eq!(error.kind, RtcErrorKind::OperationError);
            error.detail.unwrap()
        };
        assert_eq!(detail(DtlsEngineError::Fingerprint).as_str(), "fingerprint-failure");
        let refused = detail(DtlsEngineError::Alert(40));
        assert_eq!(refused, RtcErrorDetail::DtlsFailure { received_alert: Some(40) });
        for other in [DtlsEngineError::Timeout, DtlsEngineError::Certificate("RSA".to_owned())] {
            let detail = detail(other);
            assert_eq!(
                (detail, detail.as_str()),
                (RtcErrorDetail::DtlsFailure { received_alert: None }, "dtls-failure")
            );
        }
    }
}
