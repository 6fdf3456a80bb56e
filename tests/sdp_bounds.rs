//! Descriptions that are too large: a text of 1 MiB and one of 1,000 m-sections are refused in bounded time and memory,
//! counted in bytes and in allocations, and the connection goes on.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that fails, and that runs tasks of its own"
)]

#[path = "support/counting.rs"]
mod counting;
mod support;

use peerstack::{
    DataChannelInit, PeerConnection, RtcErrorDetail, RtcErrorKind, SessionDescription, SignalingState,
};
use support::{Peer, TwoHosts, ms, say, simulate};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

const MIB: usize = 1 << 20;
const HEAD: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";
const SECTION: &str = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\n";

/// A text of exactly so many bytes: `lines` again and again, the last one filled up.
fn filled(lines: &str, bytes: usize) -> String {
    let mut text = HEAD.to_owned();
    while !lines.is_empty() && text.len() + lines.len() + 16 <= bytes {
        text.push_str(lines);
    }
    text.push_str("a=x:");
    while text.len() < bytes {
        text.push('x');
    }
    text
}

struct Cost {
    peak: usize,
    allocations: usize,
    error: Option<peerstack::RtcError>,
}

async fn set(pc: &PeerConnection, text: String) -> Cost {
    let description = SessionDescription::offer(text);
    let (start, before) = (counting::reset_peak(), counting::allocations());
    let error = pc.set_remote_description(description).await.err();
    Cost { peak: counting::peak() - start, allocations: counting::allocations() - before, error }
}

/// Too large is refused before it is read: it costs less than the text itself, whatever is in it.
#[test]
fn what_is_too_large_is_refused_before_it_is_read() {
    simulate(async {
        let net = TwoHosts::start(1, |link| link);
        net.lab.set_tracing(false);
        let Peer { pc, events: _events } = net.peers().0;
        let _channel = pc.create_data_channel("data", DataChannelInit::default()).unwrap();
        // What a connection makes once is not counted.
        assert!(set(&pc, "no description".to_owned()).await.error.is_some());
        tokio::time::sleep(ms(1_000)).await;
        let candidate = "a=candidate:1 1 udp 1 203.0.113.1 1 typ host\r\n";
        for lines in
            ["", "a=x\r\n", "m=audio 9 RTP/AVP 0\r\n", SECTION, candidate, "a=rtpmap:0 x/1\r\n", "\r\n", "x"]
        {
            for bytes in [MIB, MIB + 1, 8 * MIB] {
                let cost = set(&pc, filled(lines, bytes)).await;
                let error = cost.error.unwrap();
                assert_eq!(error.kind, RtcErrorKind::OperationError);
                assert_eq!(error.detail, Some(RtcErrorDetail::SdpSyntaxError { line_number: 1 }), "{error}");
                assert!(cost.peak < 64 << 10, "{} bytes for {bytes} of {lines:?}", cost.peak);
                assert!(cost.allocations < 200, "{} allocations for {bytes} of {lines:?}", cost.allocations);
            }
        }
        // As many sections as that are refused at the first that is too much.
        for count in [1_000, 5_000, 20_000] {
            let cost = set(&pc, format!("{HEAD}{}", SECTION.repeat(count))).await;
            let error = cost.error.unwrap();
            let Some(RtcErrorDetail::SdpSyntaxError { line_number }) = error.detail else {
                panic!("{error}")
            };
            assert_eq!(line_number as usize, 5 + 2 * 512, "{error}");
            assert!(error.message.contains("512 m-sections"), "{error}");
            say(&format!("{count} sections: {} KiB, {} allocations", cost.peak >> 10, cost.allocations));
            assert!(
                cost.peak < MIB && cost.allocations < 5_000,
                "{} bytes, {} allocations",
                cost.peak,
                cost.allocations
            );
        }
        // The connection goes on.
        assert_eq!(pc.signaling_state(), SignalingState::Stable);
        pc.create_offer(Default::default()).await.unwrap();
        pc.close();
        pc.closed().await;

        below_the_limit(&net).await;
    });
}

/// What is just not too large costs a bounded multiple of its size, whether it can be used or not.
async fn below_the_limit(net: &TwoHosts) {
    let candidate = "a=candidate:1 1 udp 1 203.0.113.1 1 typ host\r\n";
    for lines in
        ["", "a=x\r\n", "m=audio 9 RTP/AVP 0\r\n", SECTION, candidate, "a=group:BUNDLE a b\r\n", "\r\n"]
    {
        let Peer { pc, events: _events } = net.peers().0;
        let cost = set(&pc, filled(lines, MIB - 1)).await;
        say(&format!("1 MiB of {lines:?}: {} KiB, {} allocations", cost.peak >> 10, cost.allocations));
        assert!(cost.peak < 48 * MIB, "{} bytes for {lines:?}", cost.peak);
        assert!(cost.allocations < 1_500_000, "{} allocations for {lines:?}", cost.allocations);
        pc.close();
        pc.closed().await;
    }
    // As many sections as are taken are answered, in memory that is bounded.
    let Peer { pc, events: _events } = net.peers().0;
    let mids: Vec<String> = (0..512).map(|mid| mid.to_string()).collect();
    let fingerprint = ["ab"; 32].join(":");
    let section = |mid: &String| {
        format!(
            "{SECTION}a=mid:{mid}\r\na=rtcp-mux\r\na=ice-ufrag:abcd\r\na=ice-pwd:{}\r\na=setup:actpass\r\n\
             a=fingerprint:sha-256 {fingerprint}\r\na=sendonly\r\n",
            "p".repeat(22)
        )
    };
    let sections: String = mids.iter().map(section).collect();
    let cost = set(&pc, format!("{HEAD}a=group:BUNDLE {}\r\n{sections}", mids.join(" "))).await;
    say(&format!("512 sections: {} KiB, {} allocations", cost.peak >> 10, cost.allocations));
    assert!(cost.error.is_none(), "{:?}", cost.error);
    assert!(
        cost.peak < 48 * MIB && cost.allocations < 200_000,
        "{} bytes, {} allocations",
        cost.peak,
        cost.allocations
    );
    let answer = pc.create_answer().await.unwrap();
    assert_eq!(answer.sdp.matches("m=audio").count(), 512);
    pc.close();
    pc.closed().await;
    tokio::time::sleep(ms(1)).await;
}
