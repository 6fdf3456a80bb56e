//! RTP packets (RFC 3550 section 5.1) and their header extensions (RFC 8285): reading, writing again, rewriting ids
//! where they lie.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peerstack_fuzz::Input;
use peerstack_rtp_transport::{
    ExtensionIdMapping, RtpFields, RtpHeader, RtpHeaderView, RtpPacket, StreamId, forwarded_len_bound,
    rewrite_extension_ids, write_forwarded,
};

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mut mapping = ExtensionIdMapping::default();
    for _ in 0..input.below(8) {
        let (from, to) = (input.byte(), input.byte());
        mapping.set(from, (to != 0).then_some(to));
    }
    let bytes = input.rest();
    let Ok(view) = RtpHeaderView::parse(bytes) else {
        assert!(RtpPacket::parse(bytes).is_err());
        let mut copy = bytes.to_vec();
        assert!(rewrite_extension_ids(&mut copy, &mapping).is_err());
        assert_eq!(copy, bytes);
        return;
    };
    assert!(view.len() <= bytes.len() && view.as_bytes() == &bytes[..view.len()]);
    for element in view.extensions() {
        assert!(element.id != 0);
        assert_eq!(&bytes[element.value_at..element.value_at + element.value.len()], element.value);
        let _ = StreamId::from_extension(element.value).map(|id| id.as_str().len());
        assert!(view.extension(element.id).is_some());
    }
    rewrite(bytes, &view, &mapping);
    write_again(&view);
    if let Ok(packet) = RtpPacket::parse(bytes) {
        assert_eq!(packet.header().len() + packet.payload().len() + packet.padding_len(), bytes.len());
        forward(&packet, &mapping, input.byte());
    }
});

fn rewrite(bytes: &[u8], view: &RtpHeaderView<'_>, mapping: &ExtensionIdMapping) {
    let mut copy = bytes.to_vec();
    rewrite_extension_ids(&mut copy, mapping).expect("the header was read");
    let after = RtpHeaderView::parse(&copy).expect("rewritten, it can be read");
    assert_eq!(after.len(), view.len());
    assert_eq!(copy[view.len()..], bytes[view.len()..], "the payload stays as it is");
    assert_eq!(RtpFields::from(&after), RtpFields::from(view));
    for element in after.extensions() {
        let from = view.extensions().find(|before| before.at == element.at).expect("no element is made");
        assert_eq!((mapping.get(from.id), element.value), (Some(element.id), from.value));
    }
}

fn write_again(view: &RtpHeaderView<'_>) {
    let header = RtpHeader::from(view);
    let mut buffer = vec![0; 70_000 * 4];
    let Ok(len) = header.write(b"payload", &mut buffer) else {
        assert!(header.extensions.iter().any(|(id, _)| *id == 15) || header.extensions.len() > 10_000);
        return;
    };
    let again = RtpPacket::parse(&buffer[..len]).expect("what was written can be read");
    assert_eq!(again.payload(), b"payload");
    assert_eq!(RtpHeader::from(again.header()), header);
}

fn forward(packet: &RtpPacket<'_>, mapping: &ExtensionIdMapping, id: u8) {
    let set: &[(u8, &[u8])] = &[(id % 14 + 1, b"mid")];
    let bound = forwarded_len_bound(packet, set);
    let mut buffer = vec![0; bound];
    let fields = RtpFields { ssrc: 7, ..RtpFields::from(packet.header()) };
    match write_forwarded(packet, &fields, mapping, set, &mut buffer) {
        Ok(len) => {
            let forwarded = RtpPacket::parse(&buffer[..len]).expect("what was forwarded can be read");
            assert_eq!(forwarded.payload(), packet.payload());
            assert_eq!(forwarded.padding_len(), packet.padding_len());
            assert_eq!(forwarded.header().ssrc(), 7);
            assert_eq!(forwarded.header().extension(set[0].0), Some(set[0].1));
        }
        Err(error) => assert!(
            !matches!(error, peerstack_rtp_transport::RtpError::BufferTooSmall { .. }),
            "the bound says how much it takes: {error}"
        ),
    }
}
