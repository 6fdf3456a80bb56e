//! The perfect negotiation of webrtc-pc section 10.7, as an application writes it here.

use std::time::Duration;

use peerstack_base::Random;
use peerstack_peer_connection::{
    DataChannel, IceCandidateInit, PeerConnection, PeerConnectionEvent, PeerConnectionEvents, SdpType,
    SessionDescription, SignalingState,
};
use tokio::sync::mpsc;

use crate::harness::{pass, spawn};

/// What signalling carries.
#[derive(Debug)]
pub(crate) enum Message {
    Description(SessionDescription),
    Candidate(IceCandidateInit),
}

/// One side.
pub(crate) struct Agent {
    pub(crate) pc: PeerConnection,
    pub(crate) polite: bool,
    events: PeerConnectionEvents,
    outbox: mpsc::UnboundedSender<Message>,
    inbox: mpsc::UnboundedReceiver<Message>,
    ignored_offer: bool,
    /// The next offer of the peer is rolled back once before it is answered.
    pub(crate) hesitate: bool,
    /// Groups are taken out of what this side says.
    pub(crate) unbundled: bool,
    pub(crate) channels: Vec<DataChannel>,
    pub(crate) offers_ignored: usize,
    /// Candidates of descriptions that did not come yet, or never will.
    early: Vec<IceCandidateInit>,
}

/// Two sides with a wire between them on which each message takes up to `delay`: descriptions in order, candidates before
/// or after whatever was sent around them.
pub(crate) fn agents(
    pcs: [PeerConnection; 2],
    polite: usize,
    delay: Duration,
    random: &mut Random,
) -> [Agent; 2] {
    let wire = |random: &mut Random| {
        let (sender, mut sent) = mpsc::unbounded_channel::<Message>();
        let (in_order, mut descriptions) = mpsc::unbounded_channel();
        let (arrive, arrived) = mpsc::unbounded_channel();
        let mut random = random.fork();
        let arrive_in_order = arrive.clone();
        spawn(async move {
            while let Some((message, delay)) = descriptions.recv().await {
                pass(delay).await;
                let _ = arrive_in_order.send(message);
            }
        });
        spawn(async move {
            while let Some(message) = sent.recv().await {
                let delay = delay.mul_f64(f64::from(random.u32() % 1_000) / 1_000.0);
                let arrive = arrive.clone();
                match message {
                    Message::Description(_) => drop(in_order.send((message, delay))),
                    Message::Candidate(_) => spawn(async move {
                        pass(delay).await;
                        let _ = arrive.send(message);
                    }),
                }
            }
        });
        (sender, arrived)
    };
    let ((to_b, from_a), (to_a, from_b)) = (wire(random), wire(random));
    let [a, b] = pcs;
    [Agent::new(a, polite == 0, to_b, from_b), Agent::new(b, polite == 1, to_a, from_a)]
}

impl Agent {
    fn new(
        pc: PeerConnection,
        polite: bool,
        outbox: mpsc::UnboundedSender<Message>,
        inbox: mpsc::UnboundedReceiver<Message>,
    ) -> Self {
        let events = pc.events();
        Self {
            pc,
            polite,
            events,
            outbox,
            inbox,
            ignored_offer: false,
            hesitate: false,
            unbundled: false,
            channels: Vec::new(),
            offers_ignored: 0,
            early: Vec::new(),
        }
    }

    /// Handles what comes next; to be dropped at any await is safe only between messages, so the caller gives this
    /// its own task or waits for it.
    pub(crate) async fn next(&mut self) -> Option<Next> {
        tokio::select! {
            biased;
            event = self.events.next() => event.map(|event| Next::Event(Box::new(event))),
            message = self.inbox.recv() => message.map(Next::Message),
        }
    }

    pub(crate) async fn handle(&mut self, next: Next) -> Result<(), String> {
        match next {
            Next::Event(event) => self.on_event(*event).await,
            Next::Message(Message::Description(description)) => self.on_description(description).await,
            Next::Message(Message::Candidate(candidate)) => self.on_candidate(candidate).await,
        }
    }

    async fn on_event(&mut self, event: PeerConnectionEvent) -> Result<(), String> {
        match event {
            // Events wait to be read: an offer of the peer may have come meanwhile.
            PeerConnectionEvent::NegotiationNeeded if self.pc.signaling_state() == SignalingState::Stable => {
                self.describe().await?;
            }
            PeerConnectionEvent::IceCandidate(candidate) => {
                let _ = self.outbox.send(Message::Candidate(candidate));
            }
            PeerConnectionEvent::DataChannel(channel) => self.channels.push(channel),
            _ => {}
        }
        Ok(())
    }

    async fn describe(&mut self) -> Result<(), String> {
        self.pc.set_local_description(None).await.map_err(|error| format!("local: {error}"))?;
        let mut description = self.pc.local_description().ok_or("no description")?;
        if self.unbundled {
            let lines = description.sdp.split_inclusive('\n').filter(|line| !line.starts_with("a=group:"));
            description.sdp = lines.collect();
        }
        let _ = self.outbox.send(Message::Description(description));
        Ok(())
    }

    async fn on_description(&mut self, description: SessionDescription) -> Result<(), String> {
        let is_offer = description.sdp_type == SdpType::Offer;
        let collision = is_offer && self.pc.signaling_state() != SignalingState::Stable;
        self.ignored_offer = collision && !self.polite;
        if self.ignored_offer {
            self.offers_ignored += 1;
            return Ok(());
        }
        let failed =
            |error| format!("remote {}: {error}\n{}", description.sdp_type.as_str(), description.sdp);
        self.pc.set_remote_description(description.clone()).await.map_err(failed)?;
        if is_offer && std::mem::take(&mut self.hesitate) {
            self.pc.set_remote_description(SessionDescription::rollback()).await.map_err(failed)?;
            self.pc.set_remote_description(description.clone()).await.map_err(failed)?;
        }
        for candidate in std::mem::take(&mut self.early) {
            self.on_candidate(candidate).await?;
        }
        if is_offer { self.describe().await } else { Ok(()) }
    }

    async fn on_candidate(&mut self, candidate: IceCandidateInit) -> Result<(), String> {
        match self.pc.add_ice_candidate(candidate.clone()).await {
            Ok(()) => Ok(()),
            // Of an offer that comes later, that was ignored here, or taken back there before it was sent.
            Err(error) if error.message.contains("remote description") => {
                self.early.push(candidate);
                Ok(())
            }
            Err(error) => Err(format!("candidate: {error}")),
        }
    }
}

/// What an agent has to handle.
pub(crate) enum Next {
    Event(Box<PeerConnectionEvent>),
    Message(Message),
}
