//! How the controller gets its transports: the seam through which tests give it fakes.
//!
//! Answers to the factories in libwebrtc's `JsepTransportController::Config` (`ice_transport_factory`,
//! `dtls_transport_factory`, `sctp_factory`).

use std::task::{Context, Poll};
use std::time::Instant;

use peerstack_dtls::{DtlsFingerprint, DtlsTransportInternal};
use peerstack_p2p::{IceParameters, IceRole, IceTransportStats};

/// What a transport is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreateTransport<'a> {
    /// Names it in traces and candidates: the mid it is made for.
    pub name: &'a str,
    /// ICE component: 1, or 2 for RTCP where it is not multiplexed.
    pub component: u8,
    /// Our ICE role.
    pub ice_role: IceRole,
    /// The tie-breaker of role conflicts (RFC 8445 section 16.1), one for all transports.
    pub tiebreaker: u64,
}

/// Makes transports.
pub trait JsepTransportFactory {
    /// What it makes: DTLS over ICE.
    type Dtls: DtlsTransportInternal;

    /// A new transport that gathers nothing yet. The controller sets ICE role and tie-breaker again, so a
    /// factory may leave them alone.
    fn create_dtls_transport(&mut self, now: Instant, options: &CreateTransport<'_>) -> Self::Dtls;

    /// The ICE parameters of transports that gather ahead, in the order in which
    /// [`create_dtls_transport`](Self::create_dtls_transport) hands them out: what an offer says of sections that are
    /// new (W3C `iceCandidatePoolSize`).
    fn pooled_ice_parameters(&self) -> Vec<IceParameters> {
        Vec::new()
    }

    /// The fingerprints of our certificate, for offers and answers; empty if DTLS is disabled by configuration.
    fn local_fingerprints(&self) -> Vec<DtlsFingerprint>;

    /// The statistics of a transport's ICE, where it keeps some.
    fn ice_stats(&self, now: Instant, dtls: &Self::Dtls) -> Option<IceTransportStats> {
        let _ = (now, dtls);
        None
    }

    /// Ready when a transport has work that no datagram and no timer announces.
    fn poll_wake(&self, dtls: &mut Self::Dtls, cx: &mut Context<'_>) -> Poll<()> {
        let _ = (dtls, cx);
        Poll::Pending
    }
}
