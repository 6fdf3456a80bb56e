//! How RTP is protected: fingerprints that fit, that do not and that change; SDES and RTP in the clear where both sides are
//! configured so, and never because a description says so.

use peerstack_base::Random;
use peerstack_netsim::{Host, Lab};
use peerstack_peer_connection::{
    Certificate, Configuration, DataChannelInit, DtlsFingerprint, DtlsTransportState, KeyAlgorithm,
    KeygenAlgorithm, MediaStreamTrack, OfferOptions, PeerConnection, PeerConnectionEvent,
    PeerConnectionState, RtcErrorDetail, RtcErrorKind, RtpProtection, RtpSender, SessionDescription,
    Settings, TrackKind, generate_certificate,
};

use crate::harness::{
    Peer, dependencies, joined, ms, negotiate, negotiate_changed, negotiate_with, pass, send_media,
    two_hosts, two_peers,
};

fn configured(protection: RtpProtection) -> Configuration {
    let mut settings = Settings::default();
    settings.rtp_protection = protection;
    Configuration::new().with_settings(settings)
}

fn connection(lab: &Lab, host: &Host, seed: u64, protection: RtpProtection) -> PeerConnection {
    PeerConnection::with_dependencies(configured(protection), dependencies(lab, host, seed)).unwrap()
}

fn peers(seed: u64, protection: [RtpProtection; 2]) -> (Lab, Peer, Peer) {
    let (lab, a, b) = two_hosts(seed, ms(5));
    let (pc_a, pc_b) =
        (connection(&lab, &a, seed, protection[0]), connection(&lab, &b, seed + 1, protection[1]));
    let (a, b) = joined((pc_a, a), (pc_b, b));
    (lab, a, b)
}

fn track(pc: &PeerConnection, kind: TrackKind) -> RtpSender {
    pc.add_track(MediaStreamTrack::new(kind), &[]).unwrap()
}

async fn flows(sender: &RtpSender, peer: &PeerConnection, first: u16) {
    let kind = sender.track().unwrap().kind();
    let receivers = peer.receivers().into_iter();
    let track = receivers.map(|one| one.track()).find(|track| track.kind() == kind).unwrap();
    send_media(sender, first, 20).await;
    pass(ms(500)).await;
    let count =
        std::iter::from_fn(|| track.try_recv()).filter(|packet| packet.payload == vec![7; 100]).count();
    assert_eq!(count, 20, "{kind:?}");
}

fn lines<'s>(description: &'s SessionDescription, start: &str) -> Vec<&'s str> {
    description.sdp.lines().filter(|line| line.starts_with(start)).collect()
}

/// RFC 4568 by configuration of both sides: keys in the descriptions, media both ways of one negotiation and the
/// next, no DTLS, no data channels; in the clear likewise, without keys.
#[tokio::test(start_paused = true)]
async fn media_flows_without_dtls_where_both_sides_are_configured_so() {
    for (seed, protection, cipher, protocol) in [
        (71, RtpProtection::DangerouslySdes, Some("SRTP_AEAD_AES_128_GCM"), "RTP/SAVPF"),
        (73, RtpProtection::DangerouslyNone, None, "RTP/AVPF"),
    ] {
        let (_lab, a, b) = peers(seed, [protection; 2]);
        let audio = track(&a.pc, TrackKind::Audio);
        let refused = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap_err();
        assert_eq!(refused.kind, RtcErrorKind::NotSupportedError);
        negotiate(&a, &b).await;
        pass(ms(3_000)).await;
        for pc in [&a.pc, &b.pc] {
            assert_eq!(pc.connection_state(), PeerConnectionState::Connected);
            let description = pc.local_description().unwrap();
            assert!(
                lines(&description, "a=fingerprint").is_empty() && lines(&description, "a=setup").is_empty()
            );
            assert!(
                lines(&description, "m=").iter().all(|line| line.contains(protocol)),
                "{}",
                description.sdp
            );
            assert_eq!(lines(&description, "a=crypto").is_empty(), cipher.is_none());
        }
        assert_eq!(audio.transport().unwrap().state(), DtlsTransportState::New);
        flows(&audio, &b.pc, 0).await;
        let mut report = a.pc.stats().await.unwrap();
        assert!(report.certificates.is_empty(), "{:?}", report.certificates);
        let transport = report.transports.remove(0);
        assert_eq!(transport.srtp_cipher.as_deref(), cipher);
        assert_eq!((transport.local_certificate_id, transport.remote_certificate_id), (None, None));
        assert_eq!((transport.dtls_state.as_str(), transport.dtls_role), ("new", None));
        assert_eq!((transport.tls_version, transport.dtls_cipher), (None, None));

        let keys = |pc: &PeerConnection| {
            let description = pc.local_description().unwrap();
            lines(&description, "a=crypto").into_iter().map(str::to_owned).next()
        };
        let before = (keys(&a.pc), keys(&b.pc));
        let video = track(&b.pc, TrackKind::Video);
        negotiate(&b, &a).await;
        pass(ms(1_000)).await;
        flows(&video, &a.pc, 0).await;
        flows(&audio, &b.pc, 20).await;
        let bare = |key: Option<String>| key.and_then(|key| key.split("inline:").nth(1).map(str::to_owned));
        assert_eq!((bare(keys(&a.pc)), bare(keys(&b.pc))), (bare(before.0), bare(before.1)), "keys stay");
    }
}

fn with_crypto(mut description: SessionDescription) -> SessionDescription {
    let line =
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\na=ice-ufrag";
    description.sdp = description.sdp.replace("a=ice-ufrag", line);
    description
}

fn sdes_alone(description: SessionDescription) -> SessionDescription {
    let mut description = with_crypto(description);
    let strange = ["a=fingerprint", "a=setup"];
    let lines = description.sdp.split_inclusive('\n');
    let kept: String =
        lines.filter(|line| !strange.iter().any(|strange| line.starts_with(strange))).collect();
    description.sdp = kept.replace("UDP/TLS/RTP/SAVPF", "RTP/SAVPF");
    description
}

fn in_the_clear(description: SessionDescription) -> SessionDescription {
    let mut description = sdes_alone(description);
    let lines = description.sdp.split_inclusive('\n').filter(|line| !line.starts_with("a=crypto"));
    description.sdp = lines.collect::<String>().replace("RTP/SAVPF", "RTP/AVPF");
    description
}

/// Whatever SDP says, a connection of the default configuration speaks DTLS-SRTP: keys beside a fingerprint have no
/// effect, keys or nothing in its place are refused.
#[tokio::test(start_paused = true)]
async fn a_description_alone_takes_no_protection_away() {
    for change in [sdes_alone, in_the_clear] {
        let (_lab, a, b) = two_peers(75, ms(5));
        let _ = track(&a.pc, TrackKind::Audio);
        a.pc.set_local_description(None).await.unwrap();
        let offer = a.pc.local_description().unwrap();
        let refused = b.pc.set_remote_description(change(offer.clone())).await.unwrap_err();
        assert_eq!(refused.kind, RtcErrorKind::InvalidAccessError);
        assert!(b.pc.remote_description().is_none());
        // Neither in an answer.
        b.pc.set_remote_description(offer).await.unwrap();
        b.pc.set_local_description(None).await.unwrap();
        let answer = b.pc.local_description().unwrap();
        assert!(a.pc.set_remote_description(change(answer.clone())).await.is_err());
        assert!(a.pc.remote_description().is_none());
        a.pc.set_remote_description(answer).await.unwrap();
    }

    let (_lab, a, b) = two_peers(77, ms(5));
    let audio = track(&a.pc, TrackKind::Audio);
    negotiate_with(&a, &b, with_crypto, with_crypto).await;
    pass(ms(3_000)).await;
    for pc in [&a.pc, &b.pc] {
        assert!(lines(&pc.local_description().unwrap(), "a=crypto").is_empty());
        let transport = pc.stats().await.unwrap().transports.remove(0);
        assert_eq!((transport.dtls_state.as_str(), transport.srtp_cipher.is_some()), ("connected", true));
    }
    flows(&audio, &b.pc, 0).await;
}

/// Sides that are configured differently do not meet, and a refused description changes nothing.
#[tokio::test(start_paused = true)]
async fn protections_do_not_mix() {
    let all = [RtpProtection::DtlsSrtp, RtpProtection::DangerouslySdes, RtpProtection::DangerouslyNone];
    for (index, offerer) in all.into_iter().enumerate() {
        for (other, answerer) in all.into_iter().enumerate().filter(|(_, answerer)| *answerer != offerer) {
            let seed = 80 + u64::try_from(10 * index + other).unwrap();
            let (_lab, a, b) = peers(seed, [offerer, answerer]);
            let _ = track(&a.pc, TrackKind::Audio);
            a.pc.set_local_description(None).await.unwrap();
            let offer = a.pc.local_description().unwrap();
            let refused = b.pc.set_remote_description(offer).await.unwrap_err();
            assert_eq!(refused.kind, RtcErrorKind::InvalidAccessError, "{offerer:?} {answerer:?}");
            assert!(b.pc.remote_description().is_none() && b.pc.transceivers().is_empty());
        }
    }
}

/// D23: of several fingerprints those that can be checked count, in any hash function there is; none of them is
/// refused.
#[tokio::test(start_paused = true)]
async fn fingerprints_of_any_known_hash_function_count() {
    for (algorithm, good) in [("sha-384", true), ("sha-512", true), ("sha-1", false), ("sha-999", false)] {
        let (lab, a, b) = two_hosts(91, ms(5));
        let random = &mut Random::from_seed(1);
        let certificate = Certificate::generate(KeyAlgorithm::EcdsaP256, &*lab.wall_clock(), random).unwrap();
        let value = match DtlsFingerprint::of_certificate(algorithm, certificate.der()) {
            Ok(fingerprint) => fingerprint.value,
            Err(_) => vec![7; 20],
        };
        let hex: Vec<String> = value.iter().map(|byte| format!("{byte:02x}")).collect();
        let said = format!("a=fingerprint:sha-999 01:02:03\r\na=fingerprint:{algorithm} {}", hex.join(":"));
        let configuration = Configuration::new().with_certificate(certificate);
        let pc_a = PeerConnection::with_dependencies(configuration, dependencies(&lab, &a, 1)).unwrap();
        let pc_b = connection(&lab, &b, 2, RtpProtection::DtlsSrtp);
        let (a, b) = joined((pc_a, a), (pc_b, b));
        let audio = track(&a.pc, TrackKind::Audio);
        a.pc.set_local_description(None).await.unwrap();
        let mut offer = a.pc.local_description().unwrap();
        let ours = lines(&offer, "a=fingerprint").remove(0).to_owned();
        offer.sdp = offer.sdp.replace(&ours, &said);
        let set = b.pc.set_remote_description(offer).await;
        assert_eq!(
            set.as_ref().err().map(|error| error.kind),
            (!good).then_some(RtcErrorKind::InvalidAccessError)
        );
        if !good {
            assert!(b.pc.remote_description().is_none());
            continue;
        }
        b.pc.set_local_description(None).await.unwrap();
        a.pc.set_remote_description(b.pc.local_description().unwrap()).await.unwrap();
        for (from, to) in [(&a.pc, &b.pc), (&b.pc, &a.pc)] {
            for candidate in lines(&from.local_description().unwrap(), "a=candidate") {
                let init = peerstack_peer_connection::IceCandidateInit {
                    candidate: candidate.trim_start_matches("a=").to_owned(),
                    sdp_mid: Some("0".to_owned()),
                    ..Default::default()
                };
                to.add_ice_candidate(init).await.unwrap();
            }
        }
        pass(ms(3_000)).await;
        assert_eq!(b.pc.connection_state(), PeerConnectionState::Connected, "{algorithm}");
        flows(&audio, &b.pc, 0).await;
    }
}

/// J02, O31: an answer with another certificate, of a peer that took the call over, is another association: DTLS begins
/// anew over the same transport and media flows to whoever answered last.
#[tokio::test(start_paused = true)]
async fn another_fingerprint_is_another_association() {
    let (lab, a, b) = two_hosts(95, ms(5));
    let c = lab.host_at("c", &lab.internet(), peerstack_netsim::ip("192.0.2.3"));
    let pc_a = connection(&lab, &a, 1, RtpProtection::DtlsSrtp);
    let first = connection(&lab, &b, 2, RtpProtection::DtlsSrtp);
    let (a, b) = joined((pc_a.clone(), a), (first, b));
    let audio = track(&a.pc, TrackKind::Audio);
    negotiate(&a, &b).await;
    pass(ms(3_000)).await;
    flows(&audio, &b.pc, 0).await;
    let transport = audio.transport().unwrap();
    let before = transport.remote_certificates();
    b.pc.close();

    let second = connection(&lab, &c, 3, RtpProtection::DtlsSrtp);
    let offer = a.pc.create_offer(OfferOptions::ice_restart()).await.unwrap();
    a.pc.set_local_description(offer).await.unwrap();
    pass(ms(1_000)).await;
    second.set_remote_description(a.pc.local_description().unwrap()).await.unwrap();
    second.set_local_description(None).await.unwrap();
    pass(ms(1_000)).await;
    a.pc.set_remote_description(second.local_description().unwrap()).await.unwrap();
    pass(ms(5_000)).await;
    assert_eq!(audio.transport(), Some(transport.clone()));
    assert_eq!(
        (transport.state(), second.connection_state()),
        (DtlsTransportState::Connected, PeerConnectionState::Connected)
    );
    assert_ne!(transport.remote_certificates(), before);
    flows(&audio, &second, 100).await;
}

/// D09, webrtc-pc section 5.5: a certificate that no fingerprint announced is told as such, before the states; the
/// peer, which hears nothing more, is told that its handshake failed.
#[tokio::test(start_paused = true)]
async fn what_ends_dtls_is_told() {
    let (_lab, a, b) = two_peers(97, ms(5));
    let (mut at_a, mut at_b) = (a.pc.events(), b.pc.events());
    let _channel = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
    let other = generate_certificate(KeygenAlgorithm::default(), None).unwrap().fingerprint().to_string();
    negotiate_changed(&a, &b, |sdp| {
        let lines = sdp.lines().map(|line| match line.strip_prefix("a=fingerprint:") {
            Some(_) if sdp.contains("a=setup:actpass") => format!("a=fingerprint:{other}\r\n"),
            _ => format!("{line}\r\n"),
        });
        lines.collect()
    })
    .await;
    pass(ms(40_000)).await;
    for (pc, events, detail) in [
        (&b.pc, &mut at_b, RtcErrorDetail::FingerprintFailure),
        (&a.pc, &mut at_a, RtcErrorDetail::DtlsFailure { received_alert: None }),
    ] {
        let told: Vec<String> = std::iter::from_fn(|| events.try_next())
            .filter_map(|event| match event {
                PeerConnectionEvent::DtlsTransportError(event) => {
                    assert_eq!(event.error.kind, RtcErrorKind::OperationError);
                    assert_eq!(event.transport.state(), DtlsTransportState::Failed);
                    assert_eq!(event.transport.error(), Some(event.error.clone()));
                    Some(event.error.detail.unwrap().as_str().to_owned())
                }
                PeerConnectionEvent::DtlsTransportStateChange { state, .. } => Some(format!("{state:?}")),
                PeerConnectionEvent::ConnectionStateChange(state) => Some(format!("connection {state:?}")),
                _ => None,
            })
            .collect();
        let wanted = ["connection Connecting", "Connecting", detail.as_str(), "Failed", "connection Failed"];
        assert_eq!(told, wanted);
        assert_eq!(pc.sctp().unwrap().transport().error().and_then(|error| error.detail), Some(detail));
    }
}
