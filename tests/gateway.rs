//! A gateway of before rtcp-mux: RTP on one UDP port and RTCP on the next, in the clear, a lite ICE agent on both (RFC 8445
//! section 2.5), its answer written by hand. Real sockets of the loopback interface, and nothing of peerstack on its side
//! but the STUN messages.

#![allow(clippy::unwrap_used, reason = "a test that fails")]

mod support;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use peerstack::{
    IceComponent, MediaStreamTrack, PeerConnection, PeerConnectionDependencies, PeerConnectionState,
    RtcpMuxPolicy, RtpProtection, SdpType, SessionDescription, TrackKind,
};
use peerstack_stun::{Class, IntegrityStatus, Message, MessageBuilder, Method};
use tokio::net::UdpSocket;

const PASSWORD: &str = "thePasswordOfTheGateway0";
const SSRC: u32 = 0x6a7e_0a45;

/// What came by each port.
#[derive(Debug, Default)]
struct Seen {
    rtp: usize,
    rtcp: usize,
    /// Of the other kind than the port is for.
    astray: usize,
}

struct Gateway {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    seen: Seen,
    /// The SSRC and the highest sequence number of what came.
    source: Option<(u32, u16)>,
}

impl Gateway {
    async fn bind() -> io::Result<Self> {
        let (rtp, rtcp) = (UdpSocket::bind("127.0.0.1:0").await?, UdpSocket::bind("127.0.0.1:0").await?);
        Ok(Self { rtp, rtcp, seen: Seen::default(), source: None })
    }

    /// As a device says it that never heard of BUNDLE, rtcp-mux or trickled candidates.
    fn answer(&self, offer: &str) -> SessionDescription {
        let rtpmap = offer.lines().find(|line| line.starts_with("a=rtpmap:")).unwrap();
        let payload_type = rtpmap[9..].split(' ').next().unwrap();
        let (rtp, rtcp) = (self.rtp.local_addr().unwrap().port(), self.rtcp.local_addr().unwrap().port());
        let lines = [
            "v=0",
            "o=gateway 1 1 IN IP4 127.0.0.1",
            "s=-",
            "t=0 0",
            "a=ice-lite",
            &format!("m=audio {rtp} RTP/AVPF {payload_type}"),
            "c=IN IP4 127.0.0.1",
            &format!("a=rtcp:{rtcp} IN IP4 127.0.0.1"),
            "a=ice-ufrag:gate",
            &format!("a=ice-pwd:{PASSWORD}"),
            &format!("a=candidate:1 1 udp 2130706431 127.0.0.1 {rtp} typ host"),
            &format!("a=candidate:1 2 udp 2130706430 127.0.0.1 {rtcp} typ host"),
            "a=mid:0",
            rtpmap,
            "a=sendrecv",
            "",
        ];
        SessionDescription { sdp_type: SdpType::Answer, sdp: lines.join("\r\n") }
    }

    /// Answers until the test ends.
    async fn run(&mut self) -> io::Result<()> {
        let (mut by_rtp, mut by_rtcp) = ([0; 2_048], [0; 2_048]);
        loop {
            tokio::select! {
                came = self.rtp.recv_from(&mut by_rtp) => {
                    let (len, from) = came?;
                    self.on_rtp_port(&by_rtp[..len], from).await?;
                }
                came = self.rtcp.recv_from(&mut by_rtcp) => {
                    let (len, from) = came?;
                    self.on_rtcp_port(&by_rtcp[..len], from).await?;
                }
            }
        }
    }

    /// RTP comes back as a stream of our own.
    async fn on_rtp_port(&mut self, packet: &[u8], from: SocketAddr) -> io::Result<()> {
        if let Some(response) = checked(packet, from) {
            return self.rtp.send_to(&response, from).await.map(drop);
        }
        if is_rtcp(packet) || packet.len() < 12 {
            self.seen.astray += 1;
            return Ok(());
        }
        self.seen.rtp += 1;
        let mut packet = packet.to_vec();
        let sequence_number = u16::from_be_bytes([packet[2], packet[3]]);
        let ssrc = u32::from_be_bytes([packet[8], packet[9], packet[10], packet[11]]);
        self.source = Some((ssrc, sequence_number));
        packet[8..12].copy_from_slice(&SSRC.to_be_bytes());
        self.rtp.send_to(&packet, from).await.map(drop)
    }

    /// A sender report is answered by a receiver report (RFC 3550 sections 6.4.2 and 6.5).
    async fn on_rtcp_port(&mut self, packet: &[u8], from: SocketAddr) -> io::Result<()> {
        if let Some(response) = checked(packet, from) {
            return self.rtcp.send_to(&response, from).await.map(drop);
        }
        if !is_rtcp(packet) {
            self.seen.astray += 1;
            return Ok(());
        }
        self.seen.rtcp += 1;
        let (Some((ssrc, sequence_number)), 200, Some(ntp)) = (self.source, packet[1], packet.get(10..14))
        else {
            return Ok(());
        };
        let mut report = vec![0x81, 201, 0, 7];
        report.extend(SSRC.to_be_bytes());
        report.extend(ssrc.to_be_bytes());
        report.extend([0; 4]);
        report.extend(u32::from(sequence_number).to_be_bytes());
        report.extend([0; 4]);
        // When it was sent, and that it is answered at once.
        report.extend(ntp);
        report.extend([0; 4]);
        report.extend([0x81, 202, 0, 3]);
        report.extend(SSRC.to_be_bytes());
        report.extend([1, 2, b'g', b'w', 0, 0, 0, 0]);
        self.rtcp.send_to(&report, from).await.map(drop)
    }
}

fn is_rtcp(packet: &[u8]) -> bool {
    matches!(packet, [128..=191, 192..=223, ..])
}

/// The answer to a connectivity check, if it is one that we can authenticate.
fn checked(packet: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    let request = Message::parse(packet).ok().filter(|message| message.class() == Class::Request)?;
    if request.check_message_integrity(PASSWORD.as_bytes()) != IntegrityStatus::Valid {
        return Some(Vec::new());
    }
    let mut response = MessageBuilder::new(Class::SuccessResponse, Method::BINDING, request.transaction_id());
    response.add_xor_mapped_address(from).integrity(PASSWORD.as_bytes()).fingerprint();
    Some(response.finish())
}

async fn call(pc: &PeerConnection, gateway: &Gateway) {
    let _ = pc.add_track(MediaStreamTrack::new(TrackKind::Audio), &[]).unwrap();
    pc.set_local_description(None).await.unwrap();
    let offer = pc.local_description().unwrap().sdp;
    assert!(offer.contains("a=rtcp-mux") && offer.contains("RTP/AVPF"), "{offer}");
    pc.set_remote_description(gateway.answer(&offer)).await.unwrap();
}

/// J14, D14: RTP by one port, RTCP by the other, reports both ways, and nothing astray.
#[tokio::test]
async fn a_gateway_without_mux_has_two_ports() {
    let mut configuration = support::loopback().with_rtcp_mux_policy(RtcpMuxPolicy::Negotiate);
    configuration.settings.rtp_protection = RtpProtection::DangerouslyNone;
    let dependencies = PeerConnectionDependencies::default();
    let pc = PeerConnection::with_dependencies(configuration, dependencies).unwrap();
    let mut gateway = Gateway::bind().await.unwrap();
    call(&pc, &gateway).await;
    let sender = pc.senders().remove(0);
    let track = pc.receivers().remove(0).track();
    let told = async {
        // Echoed packets come all the while, so each of them is a moment to look.
        loop {
            let echoed = track.recv().await.unwrap();
            assert_eq!((echoed.ssrc, echoed.payload.len()), (SSRC, 80));
            let report = pc.stats().await.unwrap();
            let told = report.remote_inbound_rtp.first().and_then(|told| told.round_trip_time);
            if let Some(round_trip) = told {
                return (report, round_trip);
            }
        }
    };
    let (report, round_trip) = tokio::select! {
        ended = gateway.run() => panic!("{ended:?}"),
        () = support::send_audio(sender.clone()) => unreachable!(),
        told = tokio::time::timeout(Duration::from_secs(60), told) => told.unwrap(),
    };
    assert!((0.0..1.0).contains(&round_trip), "{round_trip}");
    assert_eq!(pc.connection_state(), PeerConnectionState::Connected);
    let rtcp = sender.rtcp_transport().unwrap().ice_transport();
    assert_eq!(rtcp.component(), IceComponent::Rtcp);
    let port = gateway.rtcp.local_addr().unwrap().port();
    assert_eq!(rtcp.selected_candidate_pair().unwrap().remote.address.port(), port);
    assert_eq!(report.transports.len(), 2);
    let seen = &gateway.seen;
    assert!(seen.rtp > 10 && seen.rtcp > 0 && seen.astray == 0, "{seen:?}");
    pc.close();
    pc.closed().await;
}
