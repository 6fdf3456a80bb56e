//! What our offers and answers say of a transport: ICE parameters, fingerprint, `setup`.
//!
//! Part of the JsepTransportController, on the network task. RFC 9429 sections 5.2 and 5.3, RFC 8839 section
//! 5.4. Answers to libwebrtc's `p2p/base/transport_description_factory.h`.

use peerstack_base::Random;
use peerstack_dtls::{DtlsFingerprint, DtlsRole};
use peerstack_p2p::{ConnectionRole, IceMode, IceParameters};

use crate::TransportDescription;
use crate::crypto_params::{CryptoParams, SrtpKeys};
use crate::jsep_transport::answer_setup;

/// Characters of a user fragment that we make (T14, libwebrtc `ICE_UFRAG_LENGTH`).
pub(crate) const ICE_UFRAG_LEN: usize = 4;
/// Characters of one that also finds the connection on a port of many (RFC 8839 section 5.4 allows 256): 72 bits,
/// so that no two are the same.
pub(crate) const UDP_MUX_UFRAG_LEN: usize = 12;
/// Characters of a password that we make (T14, libwebrtc `ICE_PWD_LENGTH`).
pub(crate) const ICE_PWD_LEN: usize = 24;

/// Makes transport descriptions (libwebrtc `TransportDescriptionFactory`).
#[derive(Debug)]
pub(crate) struct TransportDescriptionFactory {
    random: Random,
    renomination: bool,
    ufrag_len: usize,
    ice_mode: IceMode,
}

impl TransportDescriptionFactory {
    /// `renomination` adds the ICE option of that name.
    pub(crate) fn new(random: Random, renomination: bool, ice_mode: IceMode) -> Self {
        Self { random, renomination, ice_mode, ufrag_len: ICE_UFRAG_LEN }
    }

    /// Makes user fragments of this many characters.
    pub(crate) fn with_ufrag_len(self, ufrag_len: usize) -> Self {
        Self { ufrag_len, ..self }
    }

    /// For an offer. `current` is what our side said last of this transport: user fragment and password stay
    /// unless `restart` (J03). `pooled` are those of what was gathered ahead, for a transport of which nothing was said.
    pub(crate) fn create_offer(
        &mut self,
        current: Option<&TransportDescription>,
        restart: bool,
        pooled: Option<IceParameters>,
        fingerprints: Vec<DtlsFingerprint>,
    ) -> TransportDescription {
        let setup = (!fingerprints.is_empty()).then_some(ConnectionRole::Actpass);
        self.create(current, restart, pooled, fingerprints, setup)
    }

    /// For an answer to what the offer says of the transport; `role` is the DTLS role we have already.
    pub(crate) fn create_answer(
        &mut self,
        offer: &TransportDescription,
        current: Option<&TransportDescription>,
        restart: bool,
        pooled: Option<IceParameters>,
        fingerprints: Vec<DtlsFingerprint>,
        role: Option<DtlsRole>,
    ) -> TransportDescription {
        let setup = (!fingerprints.is_empty()).then(|| answer_setup(offer.setup, role));
        self.create(current, restart, pooled, fingerprints, setup)
    }

    /// SRTP keys for an offer: those in use, or new ones (RFC 4568 section 7.1.4).
    pub(crate) fn crypto_offer(&mut self, current: Option<&TransportDescription>) -> Vec<CryptoParams> {
        match current {
            Some(current) if !current.crypto.is_empty() => current.crypto.clone(),
            _ => CryptoParams::offer(&mut self.random),
        }
    }

    /// SRTP keys for the answer to what the offer says of the transport.
    pub(crate) fn crypto_answer(
        &mut self,
        offer: &TransportDescription,
        current: Option<&TransportDescription>,
        agreed: Option<&SrtpKeys>,
    ) -> Vec<CryptoParams> {
        let current = current.map(|current| current.crypto.as_slice()).unwrap_or_default();
        CryptoParams::answer(&offer.crypto, current, agreed, &mut self.random).into_iter().collect()
    }

    fn create(
        &mut self,
        current: Option<&TransportDescription>,
        restart: bool,
        pooled: Option<IceParameters>,
        fingerprints: Vec<DtlsFingerprint>,
        setup: Option<ConnectionRole>,
    ) -> TransportDescription {
        let kept = match current.and_then(|current| current.ice.clone()) {
            Some(current) => Some(current).filter(|_| !restart),
            None => pooled,
        };
        let ice = kept.unwrap_or_else(|| IceParameters {
            ufrag: self.random.ice_string(self.ufrag_len),
            pwd: self.random.ice_string(ICE_PWD_LEN),
            renomination: false,
        });
        let mut ice_options = vec!["trickle".to_owned()];
        if self.renomination {
            ice_options.push("renomination".to_owned());
        }
        TransportDescription {
            ice: Some(IceParameters { renomination: self.renomination, ..ice }),
            ice_options,
            ice_mode: self.ice_mode,
            fingerprints,
            crypto: Vec::new(),
            setup,
            candidates: Vec::new(),
            end_of_candidates: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint() -> Vec<DtlsFingerprint> {
        vec![DtlsFingerprint { algorithm: "sha-256".to_owned(), value: vec![7; 32] }]
    }

    /// J03, T14: parameters stay unless restarted; trickle always; renomination only if enabled.
    #[test]
    fn ice_parameters_stay_unless_restarted() {
        for renomination in [false, true] {
            let mut factory =
                TransportDescriptionFactory::new(Random::from_seed(1), renomination, IceMode::Full);
            let first = factory.create_offer(None, false, None, fingerprint());
            let ice = first.ice.clone().unwrap();
            assert_eq!((ice.ufrag.len(), ice.pwd.len(), ice.renomination), (4, 24, renomination));
            assert!(ice.is_valid());
            assert!(first.has_option("trickle"));
            assert_eq!(first.has_option("renomination"), renomination);
            assert_eq!(factory.create_offer(Some(&first), false, None, fingerprint()), first);
            let restarted = factory.create_offer(Some(&first), true, None, fingerprint()).ice.unwrap();
            assert!(restarted.ufrag != ice.ufrag && restarted.pwd != ice.pwd);
            let answer = factory.create_answer(&first, Some(&first), false, None, fingerprint(), None);
            assert_eq!(answer.ice, Some(ice));
            assert_eq!(answer.ice_options, first.ice_options);
        }
    }

    /// G27, G18: what was gathered ahead is said under its own parameters, of a transport of which nothing was said yet.
    #[test]
    fn pooled_parameters_are_said_first() {
        let mut factory = TransportDescriptionFactory::new(Random::from_seed(1), false, IceMode::Lite);
        let pooled = IceParameters { ufrag: "pool".to_owned(), pwd: "p".repeat(24), renomination: false };
        let offer = factory.create_offer(None, false, Some(pooled.clone()), fingerprint());
        assert_eq!((offer.ice.as_ref(), offer.ice_mode), (Some(&pooled), IceMode::Lite));
        let other = Some(IceParameters { ufrag: "other".to_owned(), ..pooled.clone() });
        assert_eq!(factory.create_offer(Some(&offer), false, other.clone(), fingerprint()).ice, offer.ice);
        let restarted = factory.create_offer(Some(&offer), true, other, fingerprint()).ice.unwrap();
        assert!(restarted.ufrag != "other" && restarted.ufrag != "pool");
        let answer = factory.create_answer(&offer, None, false, Some(pooled.clone()), fingerprint(), None);
        assert_eq!(answer.ice, Some(pooled));
    }

    /// J01: actpass is offered; answered with the role we have, or active.
    #[test]
    fn setup_is_offered_and_answered() {
        let mut factory = TransportDescriptionFactory::new(Random::from_seed(1), false, IceMode::Full);
        let offer = factory.create_offer(None, false, None, fingerprint());
        assert_eq!(offer.setup, Some(ConnectionRole::Actpass));
        for (role, setup) in [
            (None, ConnectionRole::Active),
            (Some(DtlsRole::Client), ConnectionRole::Active),
            (Some(DtlsRole::Server), ConnectionRole::Passive),
        ] {
            let answer = factory.create_answer(&offer, None, false, None, fingerprint(), role);
            assert_eq!(answer.setup, Some(setup), "{role:?}");
        }
        // Without DTLS there is nothing to set up.
        assert_eq!(factory.create_offer(None, false, None, Vec::new()).setup, None);
        assert_eq!(factory.create_answer(&offer, None, false, None, Vec::new(), None).setup, None);
    }
}
