//! Random sequences of what an application may do, on both sides, while signalling takes its time: both sides always
//! come to agree, and what they agreed on flows.
//!
//! `PEERSTACK_NEGOTIATION_SEEDS` says how many seeds to run, `PEERSTACK_NEGOTIATION_FIRST` where to begin. On failure
//! the seed and the shortest sequence found that still fails are printed.

use std::collections::BTreeMap;

use peerstack_base::Random;
use peerstack_peer_connection::{
    BundlePolicy, Configuration, DataChannel, DataChannelEvent, DataChannelInit, DataChannelMessage,
    IceServer, MediaStreamTrack, PeerConnection, PeerConnectionState, RtcpMuxPolicy, RtpPacket,
    RtpTransceiver, RtpTransceiverDirection, RtpTransceiverInit, SessionDescription, SignalingState,
    TrackKind,
};
use tokio::sync::mpsc;

use crate::harness::{dependencies, ms, pass, two_hosts};
use crate::perfect::{Agent, Next, agents};

const STEPS: usize = 12;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operation {
    AddTrack(TrackKind),
    AddTransceiver(TrackKind, RtpTransceiverDirection),
    RemoveTrack(u32),
    Stop(u32),
    Replace(u32),
    SetDirection(u32, RtpTransceiverDirection),
    SetStreams(u32, u8),
    RestartIce,
    /// Another STUN server, which nobody is, or none: the next offer restarts ICE.
    SetConfiguration(bool),
    /// The codecs in another order.
    PreferCodecs(u32, u8),
    /// One header extension more, or less.
    ToggleExtension(u32, u8),
    AddChannel {
        ordered: bool,
    },
    /// Makes an offer and takes it back before it is sent.
    OfferAndRollBack,
    /// The next offer of the peer is set, rolled back and set again.
    Hesitate,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    side: usize,
    /// Milliseconds after the step before.
    after: u64,
    operation: Operation,
}

fn random_steps(random: &mut Random) -> Vec<Step> {
    (0..STEPS)
        .map(|_| {
            let kind = if random.u32().is_multiple_of(2) { TrackKind::Audio } else { TrackKind::Video };
            let direction = RtpTransceiverDirection::new(random.u32() & 1 == 0, random.u32() & 1 == 0);
            let which = random.u32();
            let operation = match random.u32() % 17 {
                0..=2 => Operation::AddTrack(kind),
                3 => Operation::AddTransceiver(kind, direction),
                4 => Operation::RemoveTrack(which),
                5 | 6 => Operation::Stop(which),
                7 => Operation::Replace(which),
                8 => Operation::SetDirection(which, direction),
                9 => Operation::SetStreams(which, (which >> 8) as u8 % 3),
                10 => Operation::RestartIce,
                11 => Operation::AddChannel { ordered: which.is_multiple_of(2) },
                12 => Operation::OfferAndRollBack,
                13 => Operation::SetConfiguration(which.is_multiple_of(2)),
                14 => Operation::PreferCodecs(which, (which >> 8) as u8),
                15 => Operation::ToggleExtension(which, (which >> 8) as u8),
                _ => Operation::Hesitate,
            };
            // Often both at once.
            let after = if random.u32().is_multiple_of(3) { 0 } else { u64::from(random.u32() % 300) };
            Step { side: (random.u32() % 2) as usize, after, operation }
        })
        .collect()
}

fn pick(pc: &PeerConnection, which: u32) -> Option<RtpTransceiver> {
    let alive: Vec<_> = pc.transceivers().into_iter().filter(|one| !one.stopped()).collect();
    let index = (which as usize).checked_rem(alive.len())?;
    alive.into_iter().nth(index)
}

async fn perform(agent: &mut Agent, operation: Operation, made: &mut Vec<DataChannel>) -> Result<(), String> {
    let pc = agent.pc.clone();
    let result = match operation {
        Operation::AddTrack(kind) => pc.add_track(MediaStreamTrack::new(kind), &["s".to_owned()]).map(drop),
        Operation::AddTransceiver(kind, direction) => {
            pc.add_transceiver(kind, RtpTransceiverInit::new(direction)).map(drop)
        }
        Operation::RemoveTrack(which) => {
            pick(&pc, which).map_or(Ok(()), |one| pc.remove_track(&one.sender()))
        }
        Operation::Stop(which) => pick(&pc, which).map_or(Ok(()), |one| one.stop()),
        Operation::Replace(which) => pick(&pc, which)
            .map_or(Ok(()), |one| one.sender().replace_track(Some(MediaStreamTrack::new(one.kind())))),
        Operation::SetDirection(which, direction) => {
            pick(&pc, which).map_or(Ok(()), |one| one.set_direction(direction))
        }
        Operation::SetStreams(which, count) => {
            let streams: Vec<String> = (0..count).map(|number| format!("s{number}")).collect();
            pick(&pc, which).map_or(Ok(()), |one| one.sender().set_streams(&streams))
        }
        Operation::RestartIce => {
            pc.restart_ice();
            Ok(())
        }
        Operation::SetConfiguration(with_server) => {
            let servers = with_server.then(|| IceServer::new("stun:192.0.2.77:3478"));
            pc.set_configuration(pc.configuration().with_ice_servers(servers))
        }
        Operation::PreferCodecs(which, by) => pick(&pc, which).map_or(Ok(()), |one| {
            let mut codecs = pc.sender_capabilities(one.kind()).codecs;
            let by = usize::from(by) % codecs.len().max(1);
            codecs.rotate_left(by);
            one.set_codec_preferences(codecs)
        }),
        Operation::ToggleExtension(which, index) => pick(&pc, which).map_or(Ok(()), |one| {
            let mut list = one.get_header_extensions_to_negotiate();
            // The one that tells sections apart stays.
            let mut others: Vec<_> = list.iter_mut().filter(|one| !one.uri.ends_with(":mid")).collect();
            let index = usize::from(index) % others.len().max(1);
            if let Some(extension) = others.get_mut(index) {
                let offered = extension.direction != RtpTransceiverDirection::Inactive;
                extension.direction = if offered {
                    RtpTransceiverDirection::Inactive
                } else {
                    RtpTransceiverDirection::Sendrecv
                };
            }
            one.set_header_extensions_to_negotiate(list)
        }),
        Operation::AddChannel { ordered } => {
            let init = DataChannelInit { ordered, ..DataChannelInit::default() };
            pc.create_data_channel("d", init).map(|channel| made.push(channel))
        }
        Operation::OfferAndRollBack if pc.signaling_state() == SignalingState::Stable => {
            match pc.set_local_description(None).await {
                Ok(()) => pc.set_local_description(SessionDescription::rollback()).await,
                Err(error) => Err(error),
            }
        }
        Operation::OfferAndRollBack => Ok(()),
        Operation::Hesitate => {
            agent.hesitate = true;
            Ok(())
        }
    };
    result.map_err(|error| format!("{operation:?}: {error}"))
}

/// One side's life: what happens is handled one after another, steps among it, until nobody asks for more.
async fn live(
    mut agent: Agent,
    mut steps: mpsc::UnboundedReceiver<Operation>,
) -> Result<(Agent, Vec<DataChannel>), String> {
    let mut made = Vec::new();
    loop {
        let next = tokio::select! {
            biased;
            step = steps.recv() => match step {
                Some(step) => Err(step),
                None => return Ok((agent, made)),
            },
            next = agent.next() => Ok(next),
        };
        match next {
            Err(step) => perform(&mut agent, step, &mut made).await?,
            Ok(Some(next)) => agent.handle(next).await?,
            Ok(None) => return Err("the connection closed".to_owned()),
        }
    }
}

/// Returns how many offers were ignored.
async fn run(seed: u64, steps: &[Step]) -> Result<usize, String> {
    let mut random = Random::from_seed(seed);
    let (lab, a, b) = two_hosts(seed, ms(10));
    let policies = [BundlePolicy::Balanced, BundlePolicy::MaxCompat, BundlePolicy::MaxBundle];
    // Some signalling knows nothing of BUNDLE: then each section has a transport of its own, which it must be offered.
    let unbundled = seed.is_multiple_of(5);
    let make = |host, seed, policy: u64| {
        let bundle = if unbundled { BundlePolicy::MaxCompat } else { policies[(policy % 3) as usize] };
        // Whether RTCP's own transports come and go with the descriptions.
        let mux = [RtcpMuxPolicy::Require, RtcpMuxPolicy::Negotiate][(policy / 3 % 2) as usize];
        let configuration = Configuration::new().with_bundle_policy(bundle).with_rtcp_mux_policy(mux);
        PeerConnection::with_dependencies(configuration, dependencies(&lab, host, seed)).unwrap()
    };
    let pcs = [make(&a, seed * 2, seed), make(&b, seed * 2 + 1, seed / 3)];
    let handles = pcs.clone();
    let [mut first, mut second] = agents(pcs, (seed % 2) as usize, ms(200), &mut random);
    (first.unbundled, second.unbundled) = (unbundled, unbundled);
    let ((to_first, first_steps), (to_second, second_steps)) =
        (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let conduct = async {
        let sides = [to_first, to_second];
        for step in steps {
            pass(ms(step.after)).await;
            let _ = sides[step.side].send(step.operation);
        }
        // Whatever was begun ends: signalling takes 0.2 s a message, ICE with a restart some seconds.
        for _ in 0..60 {
            pass(ms(1_000)).await;
            if is_settled(&handles) {
                pass(ms(2_000)).await;
                break;
            }
        }
    };
    let (first, second, ()) = tokio::join!(live(first, first_steps), live(second, second_steps), conduct);
    let ((first, first_made), (second, second_made)) = (first?, second?);
    agree(&first.pc, &second.pc)?;
    media_flows(&first.pc, &second.pc).await?;
    media_flows(&second.pc, &first.pc).await?;
    let ignored = first.offers_ignored + second.offers_ignored;
    data_flows(first, &first_made, second, &second_made).await?;
    Ok(ignored)
}

fn is_settled(pcs: &[PeerConnection; 2]) -> bool {
    let connected = |pc: &PeerConnection| {
        let has_sections =
            pc.current_local_description().is_some_and(|description| description.sdp.contains("a=ice-ufrag"));
        pc.connection_state() == PeerConnectionState::Connected || !has_sections
    };
    pcs.iter().all(|pc| pc.signaling_state() == SignalingState::Stable && connected(pc))
}

fn agree(a: &PeerConnection, b: &PeerConnection) -> Result<(), String> {
    for pc in [a, b] {
        if pc.signaling_state() != SignalingState::Stable
            || pc.pending_local_description().is_some()
            || pc.pending_remote_description().is_some()
        {
            return Err(format!("not stable: {}", pc.signaling_state().as_str()));
        }
    }
    let by_mid = |pc: &PeerConnection| -> Result<BTreeMap<String, RtpTransceiver>, String> {
        let all = pc.transceivers().into_iter().map(|one| match one.mid() {
            Some(mid) => Ok((mid, one)),
            None => Err(format!("a transceiver was never negotiated: {:?}", one.kind())),
        });
        all.collect()
    };
    let (ours, theirs) = (by_mid(a)?, by_mid(b)?);
    if ours.keys().ne(theirs.keys()) {
        return Err(format!("mids {:?} and {:?}", ours.keys(), theirs.keys()));
    }
    for (mid, one) in &ours {
        let other = &theirs[mid];
        let agreed = one.direction().intersection(other.direction().reversed());
        let (current, theirs) = (one.current_direction(), other.current_direction());
        if one.kind() != other.kind() || current != Some(agreed) || theirs != Some(agreed.reversed()) {
            return Err(format!(
                "section {mid}: {:?} and {:?} are {current:?} and {theirs:?}",
                one.direction(),
                other.direction()
            ));
        }
        if one.stopped() || other.stopped() {
            return Err(format!("section {mid} is stopped, but still there"));
        }
    }
    Ok(())
}

async fn media_flows(from: &PeerConnection, to: &PeerConnection) -> Result<(), String> {
    for transceiver in from.transceivers() {
        if !transceiver.current_direction().is_some_and(RtpTransceiverDirection::sends) {
            continue;
        }
        let (mid, sender) = (transceiver.mid().unwrap_or_default(), transceiver.sender());
        let other = to.transceivers().into_iter().find(|one| one.mid() == transceiver.mid());
        let track = other.ok_or("no such section")?.receiver().track();
        let payload = format!("{} in {mid}", sender.ssrc());
        let codec = sender.codecs().first().cloned().ok_or("no codec")?;
        let packet = RtpPacket {
            payload_type: codec.payload_type,
            payload: payload.clone().into_bytes().into(),
            ..RtpPacket::default()
        };
        sender.send_rtp(packet).map_err(|error| format!("section {mid}: {error}"))?;
        pass(ms(50)).await;
        match track.try_recv() {
            Some(packet) if packet.payload == payload.as_bytes() => {}
            other => return Err(format!("section {mid}: {payload:?} came as {other:?}")),
        }
    }
    Ok(())
}

async fn data_flows(
    mut a: Agent,
    a_made: &[DataChannel],
    mut b: Agent,
    b_made: &[DataChannel],
) -> Result<(), String> {
    for agent in [&mut a, &mut b] {
        while let Ok(Some(Next::Event(event))) = tokio::time::timeout(ms(1), agent.next()).await {
            agent.handle(Next::Event(event)).await?;
        }
    }
    for (made, other) in [(a_made, &b), (b_made, &a)] {
        if other.channels.len() != made.len() {
            let states: Vec<_> = made.iter().map(|channel| channel.ready_state()).collect();
            return Err(format!("{states:?} were made, {} channels came", other.channels.len()));
        }
        for channel in made {
            channel.send("hello").map_err(|error| format!("data: {error}"))?;
        }
        for channel in &other.channels {
            let hello = DataChannelEvent::Message(DataChannelMessage::from("hello"));
            loop {
                match tokio::time::timeout(ms(5_000), channel.next_event()).await {
                    Ok(Some(event)) if event == hello => break,
                    Ok(Some(_)) => {}
                    other => return Err(format!("data: {other:?}")),
                }
            }
        }
    }
    Ok(())
}

fn in_a_world_of_its_own(seed: u64, steps: &[Step]) -> Result<usize, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(run(seed, steps))
}

/// Takes steps away as long as it still fails.
fn shrink(seed: u64, mut steps: Vec<Step>, mut error: String) -> (Vec<Step>, String) {
    let mut index = 0;
    while index < steps.len() {
        let mut fewer = steps.clone();
        let gone = fewer.remove(index);
        if let Some(next) = fewer.get_mut(index) {
            next.after += gone.after;
        }
        match in_a_world_of_its_own(seed, &fewer) {
            Err(other) => (steps, error, index) = (fewer, other, 0),
            Ok(_) => index += 1,
        }
    }
    (steps, error)
}

/// O21, O22, O06, O07, R17: both sides come to agree, whatever happens on either.
#[test]
fn random_negotiations_converge() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let first = number("PEERSTACK_NEGOTIATION_FIRST").unwrap_or(1);
    let count = number("PEERSTACK_NEGOTIATION_SEEDS").unwrap_or(200);
    for seed in first..first + count {
        let steps = random_steps(&mut Random::from_seed(seed));
        if let Err(error) = in_a_world_of_its_own(seed, &steps) {
            let (steps, error) = shrink(seed, steps, error);
            panic!("seed {seed}: {error}\nthe shortest sequence: {steps:#?}");
        }
    }
}

/// O21: both sides offer at once, whoever is polite; one exchange more settles it.
#[test]
fn glare_settles() {
    for seed in 1..=50 {
        for side in 0..2u64 {
            let both =
                [0, 1].map(|side| Step { side, after: 0, operation: Operation::AddTrack(TrackKind::Audio) });
            let again = [0, 1].map(|side| Step {
                side,
                after: 0,
                operation: Operation::AddChannel { ordered: true },
            });
            let steps: Vec<Step> =
                both.into_iter().chain([Step { after: 3_000, ..again[0] }, again[1]]).collect();
            let seed = seed * 2 + side;
            let ignored = in_a_world_of_its_own(seed, &steps);
            assert!(matches!(ignored, Ok(1..)), "seed {seed}: {ignored:?}");
        }
    }
}
