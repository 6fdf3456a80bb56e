//! Why a description or a candidate was refused by the transports.
//!
//! Returned to the signaling task, which maps each kind to the W3C error of the call that failed. Answers to the
//! `RTCError`s of libwebrtc's `pc/jsep_transport_controller.cc`.

use thiserror::Error;

use crate::SdpType;

/// Why the transports refuse. A call that failed changed nothing.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JsepError {
    /// The controller was closed.
    #[error("the connection is closed")]
    Closed,
    /// The description does not fit what was exchanged before, for example an answer without an offer.
    #[error("a {side} {sdp_type} does not fit here: {reason}")]
    InvalidState {
        /// `local` or `remote`.
        side: &'static str,
        /// What was to be applied.
        sdp_type: SdpType,
        /// What is missing or in the way.
        reason: &'static str,
    },
    /// No m-section, or no transport, has this mid.
    #[error("no m-section has the mid {mid:?}")]
    UnknownMid {
        /// The mid.
        mid: String,
    },
    /// Something that the whole description says contradicts itself or what was agreed before: BUNDLE groups
    /// (RFC 9143), payload types, header extensions, SSRCs.
    #[error("invalid BUNDLE: {0}")]
    InvalidBundle(String),
    /// RTCP would need a transport of its own, which is refused (RFC 8858; policy "require").
    #[error("the m-section {mid:?} does not multiplex RTP and RTCP (a=rtcp-mux)")]
    RtcpMuxRequired {
        /// The m-section.
        mid: String,
    },
    /// What it says of multiplexing does not follow from what was said before (RFC 5761 section 5.1.1).
    #[error("the m-section {mid:?} says of a=rtcp-mux what cannot be: {problem}")]
    RtcpMux {
        /// The m-section.
        mid: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// ICE user fragment or password is absent or not as RFC 8839 section 5.4 says.
    #[error("the m-section {mid:?} has {problem}")]
    InvalidIceParameters {
        /// The m-section.
        mid: String,
        /// Absent, or invalid.
        problem: &'static str,
    },
    /// `fingerprint` or `setup` is absent or unusable (RFC 8122, RFC 8842).
    #[error("the m-section {mid:?} cannot use DTLS: {problem}")]
    InvalidDtls {
        /// The m-section.
        mid: String,
        /// What is wrong.
        problem: String,
    },
    /// `crypto` is absent or unusable, where the configuration asks for SDES (RFC 4568).
    #[error("the m-section {mid:?} cannot use SRTP keys of the description: {problem}")]
    InvalidSrtp {
        /// The m-section.
        mid: String,
        /// What is wrong.
        problem: String,
    },
    /// The data channel transport could not be started.
    #[error("the data channels of m-section {mid:?} cannot start: {problem}")]
    Sctp {
        /// The m-section.
        mid: String,
        /// What is wrong.
        problem: String,
    },
}

impl JsepError {
    pub(crate) fn bundle(problem: impl Into<String>) -> Self {
        Self::InvalidBundle(problem.into())
    }

    pub(crate) fn srtp(mid: &str, problem: impl Into<String>) -> Self {
        Self::InvalidSrtp { mid: mid.to_owned(), problem: problem.into() }
    }

    pub(crate) fn dtls(mid: &str, problem: impl Into<String>) -> Self {
        Self::InvalidDtls { mid: mid.to_owned(), problem: problem.into() }
    }
}
