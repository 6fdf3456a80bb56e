//! Tests of offers and answers. Rows O.. and J.. are those of the conformance checklist.

mod answers;
mod offers;
mod renegotiation;

use peerstack_base::Random;
use peerstack_dtls::DtlsFingerprint;
use peerstack_p2p::{ConnectionRole, IceParameters};

use super::*;
use crate::session_description::*;
use crate::test_sdp;
use crate::webrtc_sdp::{parse, serialize};

fn transport() -> TransportDescription {
    TransportDescription {
        ice: Some(IceParameters { ufrag: "Lo0p".to_owned(), pwd: "p".repeat(24), renomination: false }),
        fingerprints: vec![DtlsFingerprint { algorithm: "sha-256".to_owned(), value: vec![7; 32] }],
        ..TransportDescription::default()
    }
}

fn section(mid: &str, kind: MediaKind) -> MediaDescriptionOptions {
    MediaDescriptionOptions::new(mid, kind, transport())
}

fn audio(mid: &str) -> MediaDescriptionOptions {
    section(mid, MediaKind::Audio)
}

fn video(mid: &str) -> MediaDescriptionOptions {
    section(mid, MediaKind::Video)
}

fn data(mid: &str) -> MediaDescriptionOptions {
    section(mid, MediaKind::Application)
}

fn options(sections: Vec<MediaDescriptionOptions>) -> MediaSessionOptions {
    MediaSessionOptions { sections, cname: "cname".to_owned(), ..MediaSessionOptions::default() }
}

/// The same sections as those of a description.
fn options_for(description: &SessionDescription) -> MediaSessionOptions {
    options(description.contents.iter().map(|content| section(&content.mid, content.kind.clone())).collect())
}

fn factory() -> MediaSessionDescriptionFactory {
    MediaSessionDescriptionFactory::new(&mut Random::from_seed(1))
}

fn offer(options: &MediaSessionOptions) -> SessionDescription {
    factory().create_offer(options, None, None).unwrap()
}

fn answer(options: &MediaSessionOptions, offer: &SessionDescription) -> SessionDescription {
    let answer = factory().create_answer(options, offer, None).unwrap();
    // What is made can be written and read again, and means the same.
    let text = serialize(&answer);
    let mut again = parse(&text).unwrap();
    for content in &mut again.contents {
        content.connection_address = None;
        if content.rejected {
            content.transport = TransportDescription::default();
        }
    }
    assert_eq!(serialize(&again), text);
    answer
}

fn rtp<'a>(description: &'a SessionDescription, mid: &str) -> &'a RtpMediaContentDescription {
    description.content(mid).unwrap().description.as_rtp().unwrap()
}

/// Payload types with names, and what `rtx` retransmits.
fn names(rtp: &RtpMediaContentDescription) -> Vec<String> {
    let name = |codec: &Codec| match codec.associated_payload_type() {
        Some(apt) => format!("{} {}:{apt}", codec.payload_type, codec.name),
        None => format!("{} {}", codec.payload_type, codec.name),
    };
    rtp.codecs.iter().map(name).collect()
}

fn extensions(rtp: &RtpMediaContentDescription) -> Vec<(u8, &str)> {
    rtp.header_extensions.iter().map(|extension| (extension.id, extension.uri.as_str())).collect()
}

/// Each payload type and header extension id of a description means one thing in all sections of a group (J23).
fn assert_numbers_agree(description: &SessionDescription) {
    let sections: Vec<_> =
        description.contents.iter().filter_map(|content| content.description.as_rtp()).collect();
    for (index, section) in sections.iter().enumerate() {
        for other in sections.iter().take(index + 1) {
            for a in &section.codecs {
                for b in other.codecs.iter().filter(|b| b.payload_type == a.payload_type) {
                    assert!(a.is_same_format(b), "{a:?} {b:?}");
                }
            }
            for a in &section.header_extensions {
                for b in other.header_extensions.iter().filter(|b| b.id == a.id) {
                    assert_eq!(a.uri, b.uri);
                }
            }
        }
    }
}
