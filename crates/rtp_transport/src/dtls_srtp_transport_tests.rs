use peerstack_base::Random;
use peerstack_dtls::DtlsRole;
use peerstack_dtls::DtlsTransportState::*;
use peerstack_dtls::{FakeDtlsTransport, SrtpProtectionProfile::*};

use super::*;
use crate::rtp_transport::tests::{drain, send_rtcp, send_rtp};
use crate::srtp_context::tests::PROFILES;
use crate::test_util::{corpus, meta, rtcp, rtp, start};

type Transport = DtlsSrtpTransport<FakeDtlsTransport, char>;

fn transport(rtp: FakeDtlsTransport, rtcp: Option<FakeDtlsTransport>) -> Transport {
    Transport::new("test", rtp, rtcp, SrtpBackendKind::InPlace)
}

fn connected(role: DtlsRole, seed: u8) -> FakeDtlsTransport {
    let mut dtls = FakeDtlsTransport::default();
    dtls.connect(role, AeadAes128Gcm, seed);
    dtls
}

fn pair(profile: SrtpProtectionProfile, kind: SrtpBackendKind) -> (Transport, Transport) {
    let (client, server) = FakeDtlsTransport::connected_pair(profile);
    let mut client = Transport::new("client", client, None, kind);
    let mut server = Transport::new("server", server, None, kind);
    client.process(start());
    server.process(start());
    (client, server)
}

/// One packet from one to the other; whether it came through.
fn passes(from: &mut Transport, to: &mut Transport, packet: &[u8]) -> bool {
    if send_rtp(from, packet).is_err() {
        return false;
    }
    let mut sealed = from.rtp_dtls_mut().take_srtp().remove(0);
    matches!(to.receive(start(), &mut sealed, &meta()), Received::Rtp { packet: p, .. } if p.as_bytes() == packet)
}

/// D11, D16, D24: media flows both ways in each profile that DTLS negotiates.
#[test]
fn media_flows_in_each_profile() {
    let kinds = [
        SrtpBackendKind::InPlace,
        #[cfg(feature = "webrtc-srtp")]
        SrtpBackendKind::WebrtcSrtp,
    ];
    for kind in kinds {
        for profile in PROFILES {
            let (mut client, mut server) = pair(profile, kind);
            assert_eq!((client.srtp_profile(), client.backend_kind()), (Some(profile), kind));
            for sequence_number in 1..5 {
                assert!(passes(&mut client, &mut server, &rtp(7, sequence_number, b"there")));
                assert!(passes(&mut server, &mut client, &rtp(8, sequence_number, b"and back")));
            }
            assert_eq!(send_rtcp(&mut client, &rtcp(7)), Ok(8));
            let mut sealed = client.rtp_dtls_mut().take_srtp().remove(0);
            assert_eq!(server.receive(start(), &mut sealed, &meta()), Received::Rtcp(&rtcp(7)));
        }
    }
}

/// D14: multiplexed, SRTP is active when DTLS is connected and writable, in whatever order that comes.
#[test]
fn active_when_dtls_is_connected_and_writable() {
    for writable_first in [true, false] {
        let now = start();
        let mut transport = transport(FakeDtlsTransport::default(), None);
        let mut events = transport.subscribe();
        let dtls = transport.rtp_dtls_mut();
        dtls.set_role(Some(DtlsRole::Client));
        dtls.set_srtp_keying_material(Some(FakeDtlsTransport::keying_material(AeadAes128Gcm, 1)));
        if writable_first {
            dtls.set_writable(true)
        } else {
            dtls.set_state(Connected)
        }
        transport.process(now);
        assert!(!transport.srtp_active() && !transport.writable());
        assert_eq!(send_rtp(&mut transport, &rtp(1, 1, b"")), Err(SendError::NotWritable));
        let dtls = transport.rtp_dtls_mut();
        if writable_first {
            dtls.set_state(Connected)
        } else {
            dtls.set_writable(true)
        }
        transport.process(now);
        transport.process(now);
        assert!(transport.srtp_active() && transport.ready_to_send());
        let expected = [
            RtpTransportEvent::SrtpActive(true),
            RtpTransportEvent::WritableState(true),
            RtpTransportEvent::ReadyToSend(true),
        ];
        assert_eq!(drain(&mut events), expected);
    }
}

/// D14: without multiplexing both handshakes are needed, and each transport has keys of its own.
#[test]
fn without_multiplexing_both_handshakes_are_needed() {
    let now = start();
    let mut one = transport(connected(DtlsRole::Client, 1), Some(FakeDtlsTransport::default()));
    one.process(now);
    assert!(!one.srtp_active());
    one.rtcp_dtls_mut().unwrap().connect(DtlsRole::Client, AeadAes128Gcm, 2);
    one.process(now);
    assert!(one.srtp_active() && one.writable());
    let mut other = transport(connected(DtlsRole::Server, 1), Some(connected(DtlsRole::Server, 2)));
    other.process(now);
    assert!(passes(&mut one, &mut other, &rtp(1, 1, b"x")));
    send_rtcp(&mut one, &rtcp(1)).unwrap();
    let mut sealed = one.rtcp_dtls_mut().unwrap().take_srtp().remove(0);
    let rtcp_meta = other.rtcp_dtls().unwrap().ice().meta();
    assert_eq!(other.receive(now, &mut sealed, &rtcp_meta), Received::Rtcp(&rtcp(1)));
}

/// D14: multiplexing that is enabled later makes it active.
#[test]
fn multiplexing_enabled_later_makes_it_active() {
    let now = start();
    let mut transport = transport(connected(DtlsRole::Client, 1), Some(FakeDtlsTransport::default()));
    let mut events = transport.subscribe();
    transport.process(now);
    assert!(!transport.srtp_active());
    transport.set_rtcp_mux_enabled(true);
    transport.process(now);
    assert!(transport.srtp_active());
    assert_eq!(drain(&mut events).len(), 3);
}

/// D15, D21: taking RTCP's transport away keeps the SRTP context.
#[test]
fn removing_the_rtcp_transport_keeps_the_context() {
    let now = start();
    let mut one = transport(connected(DtlsRole::Client, 1), Some(connected(DtlsRole::Client, 2)));
    let mut other = transport(connected(DtlsRole::Server, 1), None);
    one.process(now);
    other.process(now);
    assert!(passes(&mut one, &mut other, &rtp(1, 1, b"x")));
    assert!(one.remove_rtcp_dtls().is_some());
    one.process(now);
    assert!(one.srtp_active() && one.rtcp_mux_enabled() && one.rtcp_dtls().is_none());
    // The context goes on: an index it used is not used again.
    assert!(matches!(send_rtp(&mut one, &rtp(1, 1, b"y")), Err(SendError::Protect(_))));
    assert!(passes(&mut one, &mut other, &rtp(1, 2, b"x")));
    send_rtcp(&mut one, &rtcp(1)).unwrap();
    let mut sealed = one.rtp_dtls_mut().take_srtp().remove(0);
    assert_eq!(other.receive(now, &mut sealed, &meta()), Received::Rtcp(&rtcp(1)));
}

/// D15: another DTLS transport makes a new SRTP context.
#[test]
fn another_dtls_transport_resets_the_context() {
    let now = start();
    let (mut client, mut server) = pair(AeadAes128Gcm, SrtpBackendKind::InPlace);
    assert!(passes(&mut client, &mut server, &rtp(7, 1, b"x")));
    client.set_dtls_transports(FakeDtlsTransport::default(), None);
    client.process(now);
    assert!(!client.srtp_active() && !client.writable());
    client.set_dtls_transports(connected(DtlsRole::Client, 9), None);
    client.process(now);
    assert!(client.srtp_active());
    // Sequence number 1 again, under other keys.
    assert!(!passes(&mut client, &mut server, &rtp(7, 1, b"x")));
    assert_eq!(server.stats().dropped.authentication + server.stats().dropped.replayed, 1);
    server.set_dtls_transports(connected(DtlsRole::Server, 9), None);
    assert!(passes(&mut client, &mut server, &rtp(7, 2, b"x")));
}

/// D14, D15: every state but connected takes the keys away; connected again with other keys installs those, even
/// if nobody looked in between. Losing writability alone keeps them.
#[test]
fn keys_follow_the_state_of_dtls() {
    for (state, active) in [(New, false), (Connecting, false), (Closed, false), (Failed, false)] {
        let now = start();
        let mut transport = transport(connected(DtlsRole::Client, 1), None);
        transport.process(now);
        let mut events = transport.subscribe();
        transport.rtp_dtls_mut().set_state(state);
        transport.process(now);
        assert_eq!((transport.srtp_active(), transport.srtp_profile()), (active, None), "{state:?}");
        assert_eq!(drain(&mut events).first(), Some(&RtpTransportEvent::SrtpActive(false)));
    }
    let now = start();
    let (mut client, mut server) = pair(AeadAes128Gcm, SrtpBackendKind::InPlace);
    client.rtp_dtls_mut().set_writable(false);
    client.process(now);
    assert!(client.srtp_active() && !client.writable());
    client.rtp_dtls_mut().set_writable(true);
    client.process(now);
    assert!(passes(&mut client, &mut server, &rtp(7, 1, b"x")));
    for (transport, role) in [(&mut client, DtlsRole::Client), (&mut server, DtlsRole::Server)] {
        transport.rtp_dtls_mut().set_state(Connecting);
        transport.rtp_dtls_mut().connect(role, AeadAes256Gcm, 5);
        transport.process(now);
    }
    assert_eq!(client.srtp_profile(), Some(AeadAes256Gcm));
    assert!(passes(&mut client, &mut server, &rtp(7, 1, b"x")));
}

/// The packet behind the last handshake message finds its keys, even before `process`.
#[test]
fn keys_are_there_for_the_next_packet() {
    let (client, server) = FakeDtlsTransport::connected_pair(AeadAes128Gcm);
    let (mut client, mut server) = (transport(client, None), transport(server, None));
    client.process(start());
    assert!(passes(&mut client, &mut server, &rtp(7, 1, b"first")));
    assert!(server.srtp_active());
}

/// Keys that a packet made be installed stay: the events behind them are old news, and a second session under the
/// same keys would use the same indices again.
#[test]
fn process_keeps_keys_that_are_installed_already() {
    let now = start();
    let (mut client, server) = FakeDtlsTransport::connected_pair(AeadAes128Gcm);
    client.set_state(Connecting);
    client.set_state(Connected);
    let (mut client, mut server) = (transport(client, None), transport(server, None));
    client.rtp_dtls_mut().set_state(Connecting);
    client.rtp_dtls_mut().set_state(Connected);
    server.process(now);
    assert!(passes(&mut server, &mut client, &rtp(7, 1, b"first")));
    for _ in 0..2 {
        send_rtcp(&mut client, &rtcp(1)).unwrap();
        let mut sealed = client.rtp_dtls_mut().take_srtp().remove(0);
        assert_eq!(server.receive(now, &mut sealed, &meta()), Received::Rtcp(&rtcp(1)));
        client.process(now);
    }
}

/// No profile was negotiated, or keys of a wrong length: never active, and the reason is kept.
#[test]
fn without_usable_keys_nothing_is_active() {
    let now = start();
    let mut dtls = connected(DtlsRole::Client, 1);
    dtls.set_srtp_keying_material(None);
    let mut one = transport(dtls, None);
    one.process(now);
    assert!(!one.srtp_active());
    let mut dtls = connected(DtlsRole::Client, 1);
    let mut keys = FakeDtlsTransport::keying_material(AeadAes128Gcm, 1);
    keys.material.pop();
    dtls.set_srtp_keying_material(Some(keys));
    let mut one = transport(dtls, None);
    one.process(now);
    assert!(!one.srtp_active() && one.setup_error().is_some());
    let mut packet = rtp(7, 1, &[0; 40]);
    assert_eq!(one.receive(now, &mut packet, &meta()), Received::None);
    assert_eq!(one.stats().dropped.no_keys, 1);
}

#[test]
fn hostile_bytes_change_nothing() {
    let (mut client, mut server) = pair(AeadAes128Gcm, SrtpBackendKind::InPlace);
    let mut random = Random::from_seed(8);
    let mut inputs = [corpus("rtp-corpus"), corpus("rtcp-corpus")].concat();
    for _ in 0..20_000 {
        let mut bytes = vec![0; random.below(80) as usize];
        random.fill(&mut bytes);
        inputs.push(bytes);
    }
    for mut input in inputs {
        assert_eq!(server.receive(start(), &mut input, &meta()), Received::None);
    }
    assert!(passes(&mut client, &mut server, &rtp(7, 1, b"still there")));
}
