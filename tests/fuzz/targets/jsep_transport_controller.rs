//! Descriptions of the peer against JsepTransportController over fakes of DTLS and ICE: one that is refused changes
//! nothing, one that is taken can be answered, and time and packets go on through what it made.

#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use peerstack_base::Random;
use peerstack_dtls::{DtlsFingerprint, FakeDtlsTransport};
use peerstack_fuzz::{Input, origin};
use peerstack_jsep::{
    BundlePolicy, CreateTransport, JsepTransportController, JsepTransportControllerConfig,
    JsepTransportFactory, MediaDescriptionOptions, MediaSessionDescriptionFactory, MediaSessionOptions,
    SdpType, SessionDescription, webrtc_sdp,
};
use peerstack_p2p::Candidate;

#[derive(Debug)]
struct Fakes;

impl JsepTransportFactory for Fakes {
    type Dtls = FakeDtlsTransport;

    fn create_dtls_transport(&mut self, _: Instant, options: &CreateTransport<'_>) -> FakeDtlsTransport {
        FakeDtlsTransport::new(options.name)
    }

    fn local_fingerprints(&self) -> Vec<DtlsFingerprint> {
        vec![DtlsFingerprint { algorithm: "sha-256".to_owned(), value: vec![1; 32] }]
    }
}

type Controller = JsepTransportController<Fakes>;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let policy = [BundlePolicy::Balanced, BundlePolicy::MaxBundle, BundlePolicy::MaxCompat][input.below(3)];
    let config = JsepTransportControllerConfig::with_bundle_policy(policy);
    let mut controller = Controller::new(Fakes, &config, Random::from_seed(7), "fuzz");
    let mut session = MediaSessionDescriptionFactory::new(&mut Random::from_seed(8));
    let mut now = origin();
    while !input.is_empty() {
        let action = input.byte();
        let chunk = input.chunk();
        let text = String::from_utf8_lossy(chunk);
        match action % 8 {
            0..=3 => remote_offer(&mut controller, &mut session, now, &text),
            4 => our_offer(&mut controller, &mut session, now, &text),
            5 => candidates(&mut controller, now, &text),
            6 => {
                let _ = controller.rollback_transports(now);
            }
            _ => now += Duration::from_millis(u64::from(action) * 10),
        }
        turn(&mut controller, now);
    }
    controller.close(now);
    turn(&mut controller, now);
    assert!(controller.transports().count() == 0);
});

fn turn(controller: &mut Controller, now: Instant) {
    controller.handle_timeout(now);
    controller.process(now);
    while controller.poll_io_request().is_some() {}
    let mut waiting = 0;
    controller.for_each_transmit_queue(|queue| waiting += queue.pending_bytes());
    assert_eq!(waiting, 0, "the fakes send nothing");
}

fn snapshot(controller: &Controller) -> (String, Option<SessionDescription>, Option<SessionDescription>) {
    let map: Vec<_> = controller
        .transports()
        .map(|(id, transport)| {
            let mids: Vec<_> = controller.mids_of(id).collect();
            format!("{id} {mids:?} {:?} {:?}", transport.local_description(), transport.remote_description())
        })
        .collect();
    let map = format!("{map:?} {:?}", controller.ice_role());
    (map, controller.local_description().cloned(), controller.remote_description().cloned())
}

fn set_remote(
    controller: &mut Controller,
    now: Instant,
    kind: SdpType,
    description: &SessionDescription,
) -> bool {
    let before = snapshot(controller);
    let taken = controller.set_remote_description(now, kind, description).is_ok();
    if !taken {
        assert_eq!(snapshot(controller), before, "a description that is refused changes nothing");
    }
    taken
}

fn options(controller: &Controller, description: &SessionDescription, answers: bool) -> MediaSessionOptions {
    let sections = description.contents.iter().map(|content| {
        let dead = answers && (content.rejected || controller.transport(&content.mid).is_none());
        if dead {
            return MediaDescriptionOptions::stopped(content.mid.clone(), content.kind.clone());
        }
        MediaDescriptionOptions::new(content.mid.clone(), content.kind.clone(), Default::default())
    });
    MediaSessionOptions { sections: sections.collect(), ..MediaSessionOptions::default() }
}

fn remote_offer(
    controller: &mut Controller,
    session: &mut MediaSessionDescriptionFactory,
    now: Instant,
    text: &str,
) {
    let Ok(offer) = webrtc_sdp::parse(text) else { return };
    if !set_remote(controller, now, SdpType::Offer, &offer) {
        return;
    }
    turn(controller, now);
    let mut options = options(controller, &offer, true);
    let alive: Vec<String> = options.sections.iter().filter(|s| !s.stopped).map(|s| s.mid.clone()).collect();
    let transports = controller.transports_for_answer(&alive).expect("what was taken can be answered");
    for section in &mut options.sections {
        section.transport = transports.get(&section.mid).cloned().unwrap_or_default();
    }
    let local = controller.local_description().cloned();
    if let Ok(answer) = session.create_answer(&options, &offer, local.as_ref()) {
        let text = webrtc_sdp::serialize(&answer);
        webrtc_sdp::parse(&text).expect("our answer can be read");
        let _ = controller.set_local_description(now, SdpType::Answer, &answer);
    }
}

fn our_offer(
    controller: &mut Controller,
    session: &mut MediaSessionDescriptionFactory,
    now: Instant,
    text: &str,
) {
    let Ok(answer) = webrtc_sdp::parse(text) else { return };
    // An offer to which the answer could be one.
    let mut options = options(controller, &answer, false);
    let mids: Vec<String> = options.sections.iter().map(|section| section.mid.clone()).collect();
    let Ok(transports) = controller.transports_for_offer(&mids, false) else { return };
    for section in &mut options.sections {
        section.transport = transports.get(&section.mid).cloned().unwrap_or_default();
    }
    let (local, remote) = (controller.local_description().cloned(), controller.remote_description().cloned());
    let Ok(offer) = session.create_offer(&options, local.as_ref(), remote.as_ref()) else { return };
    webrtc_sdp::parse(&webrtc_sdp::serialize(&offer)).expect("our offer can be read");
    if controller.set_local_description(now, SdpType::Offer, &offer).is_ok() {
        turn(controller, now);
        set_remote(controller, now, SdpType::Answer, &answer);
    }
}

fn candidates(controller: &mut Controller, now: Instant, text: &str) {
    let Some((mid, lines)) = text.split_once('\n') else { return };
    let candidates: Vec<_> = lines.lines().filter_map(|line| Candidate::parse(line).ok()).collect();
    let _ = controller.add_remote_candidates(now, mid, candidates.clone());
    let _ = controller.remove_remote_candidates(mid, &candidates);
    let _ = controller.end_of_candidates(now, mid);
}
