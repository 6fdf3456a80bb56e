//! Every signalling state with every operation, against the table beside this file.

use peerstack_netsim::{Host, Lab};
use peerstack_peer_connection::{
    Configuration, DataChannelInit, IceCandidateInit, MediaStreamTrack, OfferOptions, PeerConnection,
    RtcError, RtpTransceiver, RtpTransceiverDirection, RtpTransceiverInit, SdpType, SessionDescription,
    SignalingState, TrackKind,
};

use crate::harness::{dependencies, ms, pass, two_hosts};

const STATES: [SignalingState; 6] = [
    SignalingState::Stable,
    SignalingState::HaveLocalOffer,
    SignalingState::HaveRemoteOffer,
    SignalingState::HaveLocalPranswer,
    SignalingState::HaveRemotePranswer,
    SignalingState::Closed,
];

fn connection(lab: &Lab, host: &Host, seed: u64) -> PeerConnection {
    let pc = PeerConnection::with_dependencies(Configuration::new(), dependencies(lab, host, seed)).unwrap();
    let _ = pc.add_track(MediaStreamTrack::new(TrackKind::Audio), &[]).unwrap();
    pc
}

fn of_type(sdp_type: SdpType, description: SessionDescription) -> SessionDescription {
    SessionDescription { sdp_type, ..description }
}

fn created(sdp_type: SdpType) -> SessionDescription {
    of_type(sdp_type, SessionDescription::rollback())
}

/// A connection in a state, and its peer.
async fn reach(
    lab: &Lab,
    hosts: [&Host; 2],
    state: SignalingState,
) -> (PeerConnection, PeerConnection, RtpTransceiver) {
    use SignalingState as S;
    let (pc, peer) = (connection(lab, hosts[0], 1), connection(lab, hosts[1], 2));
    let transceiver = pc.transceivers().remove(0);
    match state {
        S::Stable => {}
        S::HaveLocalOffer | S::HaveRemotePranswer => {
            pc.set_local_description(None).await.unwrap();
            peer.set_remote_description(pc.local_description().unwrap()).await.unwrap();
        }
        S::HaveRemoteOffer | S::HaveLocalPranswer => {
            peer.set_local_description(None).await.unwrap();
            pc.set_remote_description(peer.local_description().unwrap()).await.unwrap();
        }
        S::Closed => pc.close(),
    }
    match state {
        S::HaveRemotePranswer => {
            let answer = peer.create_answer().await.unwrap();
            pc.set_remote_description(of_type(SdpType::Pranswer, answer)).await.unwrap();
        }
        S::HaveLocalPranswer => pc.set_local_description(created(SdpType::Pranswer)).await.unwrap(),
        _ => {}
    }
    // Until gathering is over.
    pass(ms(500)).await;
    assert_eq!(pc.signaling_state(), state);
    (pc, peer, transceiver)
}

/// What the peer would say.
async fn remote(lab: &Lab, host: &Host, peer: &PeerConnection, sdp_type: SdpType) -> SessionDescription {
    match sdp_type {
        SdpType::Rollback => SessionDescription::rollback(),
        SdpType::Offer => {
            // Of the same peer where it may offer, of one like it otherwise.
            let offer = match peer.create_offer(OfferOptions::default()).await {
                Ok(offer) => offer,
                Err(_) => connection(lab, host, 3).create_offer(OfferOptions::default()).await.unwrap(),
            };
            of_type(sdp_type, offer)
        }
        SdpType::Pranswer | SdpType::Answer => {
            let answer = match peer.create_answer().await {
                Ok(answer) => answer.sdp,
                Err(_) => peer.create_offer(OfferOptions::default()).await.unwrap().sdp,
            };
            SessionDescription { sdp_type, sdp: answer }
        }
    }
}

async fn perform(
    lab: &Lab,
    host: &Host,
    operation: &str,
    (pc, peer, transceiver): (&PeerConnection, &PeerConnection, &RtpTransceiver),
) -> Result<(), RtcError> {
    let sdp_type = [SdpType::Offer, SdpType::Pranswer, SdpType::Answer, SdpType::Rollback]
        .into_iter()
        .find(|sdp_type| operation.ends_with(&format!("({})", sdp_type.as_str())));
    match (operation.split('(').next().unwrap(), sdp_type) {
        ("create_offer", _) => pc.create_offer(OfferOptions::default()).await.map(drop),
        ("create_answer", _) => pc.create_answer().await.map(drop),
        ("set_local", None) => pc.set_local_description(None).await,
        ("set_local", Some(sdp_type)) => pc.set_local_description(created(sdp_type)).await,
        ("set_remote", Some(sdp_type)) => {
            let description = remote(lab, host, peer, sdp_type).await;
            pc.set_remote_description(description).await
        }
        ("add_ice_candidate", _) => {
            let candidate = "candidate:1 1 udp 2122260223 192.0.2.9 5000 typ host".to_owned();
            let init = IceCandidateInit { candidate, sdp_mline_index: Some(0), ..Default::default() };
            pc.add_ice_candidate(init).await
        }
        ("add_track", _) => pc.add_track(MediaStreamTrack::new(TrackKind::Video), &[]).map(drop),
        ("add_transceiver", _) => {
            pc.add_transceiver(TrackKind::Video, RtpTransceiverInit::default()).map(drop)
        }
        ("create_data_channel", _) => pc.create_data_channel("d", DataChannelInit::default()).map(drop),
        ("remove_track", _) => pc.remove_track(&transceiver.sender()),
        ("set_direction", _) => transceiver.set_direction(RtpTransceiverDirection::Sendonly),
        ("replace_track", _) => {
            transceiver.sender().replace_track(Some(MediaStreamTrack::new(TrackKind::Audio)))
        }
        ("stop", _) => transceiver.stop(),
        ("set_configuration", _) => pc.set_configuration(Configuration::new()),
        ("close", _) => {
            pc.close();
            Ok(())
        }
        ("restart_ice", _) => {
            pc.restart_ice();
            Ok(())
        }
        _ => panic!("{operation} is not known"),
    }
}

/// All that an application can see of a connection.
pub(crate) fn visible(pc: &PeerConnection) -> String {
    let transceivers: Vec<_> = pc
        .transceivers()
        .iter()
        .map(|one| (one.mid(), one.kind(), one.direction(), one.current_direction(), one.stopped()))
        .collect();
    let descriptions = [
        pc.current_local_description(),
        pc.pending_local_description(),
        pc.current_remote_description(),
        pc.pending_remote_description(),
    ];
    let descriptions = descriptions.map(|one| one.map(|one| format!("{} {}", one.sdp_type, one.sdp)));
    format!("{:?} {descriptions:?} {transceivers:?}", pc.signaling_state())
}

/// O13, O14, O16, O19, O34, I02: the table, as the getters tell at once after each call, and that what is refused changes
/// nothing and says why.
#[tokio::test(start_paused = true)]
async fn every_operation_in_every_state_is_as_the_table_says() {
    let (lab, a, b) = two_hosts(51, ms(5));
    let table = include_str!("signaling_table.txt");
    let mut rows = table.lines().filter(|line| !line.starts_with('#'));
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let head = cells(rows.next().unwrap());
    assert_eq!(head[1..], STATES.map(|state| state.as_str().to_owned()));
    let mut pairs = 0;
    for row in rows {
        let row = cells(row);
        for (state, wanted) in STATES.into_iter().zip(&row[1..]) {
            let (pc, peer, transceiver) = reach(&lab, [&a, &b], state).await;
            let before = visible(&pc);
            let result = perform(&lab, &b, &row[0], (&pc, &peer, &transceiver)).await;
            let got = match &result {
                Err(error) => {
                    assert!(error.message.len() > 10, "{error}");
                    assert_eq!(visible(&pc), before, "{} in {}: {error}", row[0], state.as_str());
                    error.kind.as_str()
                }
                Ok(()) if wanted == "-" => {
                    assert_eq!(pc.signaling_state(), state);
                    "-"
                }
                Ok(()) => pc.signaling_state().as_str(),
            };
            assert_eq!(got, wanted, "{} in {}: {result:?}", row[0], state.as_str());
            pairs += 1;
        }
    }
    assert_eq!(pairs, 22 * 6);
}
