//! One attribute at a time.

use std::net::SocketAddr;

use super::*;

/// What is refused is refused at its line.
fn refused(section: fn(&str) -> String, lines: &[&str]) {
    for line in lines {
        let error = error(&section(line));
        let last = FIRST + line.matches('|').count();
        assert_eq!(error.line_number, last, "{line}: {error}");
    }
}

/// P03: candidates of all forms; bad fields refused, unknown transports skipped, ufrag of the section kept.
#[test]
fn candidates() {
    let pwd = "p".repeat(22);
    let text = audio(&format!(
        "a=ice-ufrag:medi|a=ice-pwd:{pwd}|\
         a=candidate:1 1 UDP 2113929471 203.0.113.1 10100 typ host ufrag other generation 3|\
         a=candidate:2 1 tcp 1518280447 203.0.113.1 9 typ host tcptype active|\
         a=candidate:3 1 tcp 1518280447 203.0.113.1 443 typ host|\
         a=candidate:4 1 sctp 1 203.0.113.1 443 typ host|\
         a=candidate:5 2 udp 1 2001:db8::1 443 typ relay raddr 192.0.2.1 rport 7|\
         a=candidate:6 1 udp 1 4a1b.local 443 typ host|a=end-of-candidates"
    ));
    let transport = &parse(&text).unwrap().contents[0].transport;
    assert!(transport.end_of_candidates);
    let foundations: Vec<_> = transport.candidates.iter().map(|c| c.foundation.as_str()).collect();
    assert_eq!(foundations, ["1", "2", "3", "5", "6"]);
    assert!(transport.candidates.iter().all(|candidate| candidate.username_fragment == "medi"));
    assert_eq!(transport.ice.as_ref().unwrap().pwd, pwd);
    assert_eq!(transport.candidates[3].related_address, Some("192.0.2.1:7".parse::<SocketAddr>().unwrap()));
    refused(
        audio,
        &[
            "a=candidate:",
            "a=candidate:1 1 udp 1 203.0.113.1 65536 typ host",
            "a=candidate:1 1 udp 4294967296 203.0.113.1 1 typ host",
            "a=candidate:123456789012345678901234567890123 1 udp 1 203.0.113.1 1 typ host",
            "a=candidate:1 1 udp 1 203.0.113.1 1 typ moon",
            "a=candidate:1 1 udp 1 203.0.113.1 1 host",
            "a=mid:a|a=candidate:1 x udp 1 203.0.113.1 1 typ host",
        ],
    );
}

/// P04: rtpmap and fmtp in any order; static payload types; parameters of any kind.
#[test]
fn codecs() {
    let codecs =
        rtp(&audio("a=fmtp:111 a=1; b=x=y==;c;0-15;|a=rtpmap:111 OPUS/48000/2|a=fmtp:111 d=2|a=fmtp:99 x=1"))
            .codecs;
    assert_eq!(codecs.len(), 2);
    assert_eq!((codecs[0].name.as_str(), codecs[0].channels), ("OPUS", 2));
    let params: Vec<_> =
        codecs[0].params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(params, [("", "c;0-15"), ("a", "1"), ("b", "x=y=="), ("d", "2")]);
    assert_eq!((codecs[1].name.as_str(), codecs[1].clock_rate, codecs[1].channels), ("PCMU", 8000, 1));
    // One that nobody explains is kept without name.
    assert_eq!(rtp(&video("")).codecs[0].name, "");
    refused(
        audio,
        &[
            "a=rtpmap:111",
            "a=rtpmap:111 opus",
            "a=rtpmap:111 opus/x",
            "a=rtpmap:111 /48000",
            "a=rtpmap:128 opus/48000",
            "a=rtpmap:+11 opus/48000",
            "a=fmtp:x y=1",
            "a=fmtp:111",
        ],
    );
}

/// P14: one payload type means one codec; no more channels than there are ears.
#[test]
fn conflicting_codecs() {
    refused(
        audio,
        &[
            "a=rtpmap:111 opus/48000/2|a=rtpmap:111 opus/48000",
            "a=rtpmap:111 opus/48000/2|a=rtpmap:111 ISAC/48000/2",
            "a=rtpmap:111 opus/48000/25",
        ],
    );
    assert!(parse(&audio("a=rtpmap:111 opus/48000/24|a=rtpmap:111 OPUS/48000/24")).is_ok());
}

/// P05: feedback, `*` for all codecs.
#[test]
fn feedback() {
    let codecs = rtp(&video("a=rtcp-fb:* nack|a=rtcp-fb:96 ccm fir|a=rtcp-fb:96 nack|a=rtcp-fb:3 x")).codecs;
    let names = |index: usize| -> Vec<String> {
        let list = &codecs[index].feedback;
        list.iter().map(|feedback| format!("{} {}", feedback.id, feedback.param).trim().to_owned()).collect()
    };
    assert_eq!(names(0), ["ccm fir", "nack"]);
    assert_eq!(names(1), ["nack"]);
    refused(video, &["a=rtcp-fb:96", "a=rtcp-fb:x nack", "a=rtcp-fb:200 nack"]);
}

/// P05: header extensions; the session level or the sections say them, not both.
#[test]
fn header_extensions() {
    let extensions = rtp(&video(
        "a=extmap:1 urn:a|a=extmap:2/sendonly urn:b attribute|a=extmap:255 urn:ietf:params:rtp-hdrext:encrypt urn:c",
    ))
    .header_extensions;
    assert_eq!(extensions[0], RtpExtension::new(1, "urn:a"));
    assert_eq!(extensions[1].direction, Some(RtpTransceiverDirection::Sendonly));
    assert!(extensions[2].encrypt && extensions[2].uri == "urn:c" && extensions[2].id == 255);
    refused(
        video,
        &[
            "a=extmap:0 urn:a",
            "a=extmap:256 urn:a",
            "a=extmap:x urn:a",
            "a=extmap:1",
            "a=extmap:1/up urn:a",
            "a=extmap:1 urn:ietf:params:rtp-hdrext:encrypt",
        ],
    );
    let both = format!("{HEAD}a=extmap:1 urn:a\nm=audio 9 UDP/TLS/RTP/SAVPF 0\na=extmap:2 urn:b\n");
    assert_eq!(error(&both).line_number, 7);
    assert!(rtp(&video("a=extmap-allow-mixed")).extmap_allow_mixed);
    assert!(!rtp(&video("")).extmap_allow_mixed);
}

/// P06: bandwidths; the unknown and -1 are nothing, too much is very much, less than nothing is refused.
#[test]
fn bandwidths() {
    let of = |line: &str| rtp(&audio(line)).bandwidth.map(|bandwidth| bandwidth.bps);
    assert_eq!(of("b=AS:128"), Some(128_000));
    assert_eq!(of("b=TIAS:128"), Some(128));
    assert_eq!(of("b=CT:128"), None);
    assert_eq!(of("b=X-YZ:128"), None);
    assert_eq!(of("b=AS:-1"), None);
    assert_eq!(of("b=AS:99999999999999999999999"), Some(i32::MAX as u64));
    refused(audio, &["b=AS:-2", "b=AS:", "b=AS", "b=AS:1k", "b=TIAS:-1000"]);
}

/// P07: fingerprints, setup, ICE; attributes whose names only begin alike mean nothing.
#[test]
fn transport_attributes() {
    let colons = |bytes: usize| vec!["ab"; bytes].join(":");
    for (name, bytes) in
        [("sha-1", 20), ("sha-224", 28), ("SHA-256", 32), ("sha-384", 48), ("sha-512", 64), ("new-1", 5)]
    {
        let line = format!("a=fingerprint:{name} {}", colons(bytes));
        let fingerprint = parse(&audio(&line)).unwrap().contents[0].transport.fingerprints[0].clone();
        assert_eq!((fingerprint.algorithm, fingerprint.value), (name.to_lowercase(), vec![0xab; bytes]));
    }
    refused(
        audio,
        &[
            "a=fingerprint:sha-256",
            &format!("a=fingerprint:sha-256 {}", colons(31)),
            &format!("a=fingerprint:sha-256 {}:zz", colons(31)),
            &format!("a=fingerprint:sha-256 {} x", colons(32)),
            &format!("a=fingerprint:sha-256 {}:+1", colons(31)),
            "a=setup:maybe",
            "a=setup:",
            "a=ice-ufrag:abc",
            "a=ice-ufrag:ab d",
            &format!("a=ice-ufrag:{}", "a".repeat(257)),
            &format!("a=ice-pwd:{}", "a".repeat(21)),
        ],
    );
    // One without the other is refused at the section's head.
    assert_eq!(error(&audio("a=ice-ufrag:abcd")).line_number, FIRST - 1);
    let partial = parse(&audio("a=setupx:y|a=ice-ufragx:1|a=midx:/|a=candidatex:1|a=sendrecvx")).unwrap();
    assert_eq!(partial.contents[0].transport, TransportDescription::default());
}

/// P09: streams and tracks.
#[test]
fn msids() {
    let of = |lines: &str| rtp(&audio(lines)).msids;
    let msid = |stream: Option<&str>, track: Option<&str>| Msid {
        stream_id: stream.map(str::to_owned),
        track_id: track.map(str::to_owned),
    };
    assert_eq!(of("a=msid:s t"), [msid(Some("s"), Some("t"))]);
    assert_eq!(of("a=msid:- t"), [msid(None, Some("t"))]);
    assert_eq!(of("a=msid:s"), [msid(Some("s"), None)]);
    assert_eq!(
        of("a=msid:s t|a=msid:u t|a=msid:s t"),
        [msid(Some("s"), Some("t")), msid(Some("u"), Some("t"))]
    );
    assert_eq!(of(""), []);
    refused(audio, &["a=msid:", "a=msid: ", "a=msid:s t x", "a=msid:s t|a=msid:u v"]);
}

/// P10: rids and simulcast; what cannot be meant falls away.
#[test]
fn simulcast() {
    let of = |lines: &str| rtp(&video(lines));
    let layers = |list: &[Vec<SimulcastLayer>]| -> Vec<String> {
        list.iter().flatten().map(|layer| layer.rid.clone()).collect()
    };
    let both = of("a=rid:1 send|a=rid:2 send|a=rid:3 recv|a=simulcast:recv 3 send 1,~2;9");
    assert_eq!(layers(&both.simulcast.send), ["1", "2"]);
    assert_eq!(both.simulcast.send.len(), 1);
    assert_eq!(layers(&both.simulcast.recv), ["3"]);
    // The wrong direction, both directions, a rid said twice, malformed ones.
    assert!(of("a=rid:1 recv|a=simulcast:send 1").simulcast.is_empty());
    assert!(of("a=rid:1 send|a=simulcast:send 1 recv 1").simulcast.is_empty());
    assert!(of("a=rid:1 send|a=rid:1 send pt=96|a=simulcast:send 1").simulcast.is_empty());
    for line in ["a=rid:1", "a=rid:1 up", "a=rid:! send", "a=rid:1 send pt=96 x", "a=rid:"] {
        assert!(of(line).rids.is_empty(), "{line}");
    }
    // Payload types that are not of the section.
    assert_eq!(of("a=rid:1 send pt=96,5,x").rids[0].payload_types, [96]);
    assert!(of("a=rid:1 send pt=5").rids.is_empty());
    refused(
        video,
        &[
            "a=simulcast:",
            "a=simulcast:send",
            "a=simulcast:send ;",
            "a=simulcast:send 1 send 2",
            "a=simulcast:up 1",
            "a=simulcast:send 1|a=simulcast:send 1",
        ],
    );
}

/// P11: data channels in the old form and the new one.
#[test]
fn data_channels() {
    let of = |text: &str| parse(&format!("{HEAD}{}", text.replace('|', "\n")));
    let sctp = |text: &str| of(text).unwrap().contents[0].description.as_sctp().unwrap().clone();
    for protocol in ["DTLS/SCTP", "UDP/DTLS/SCTP", "TCP/DTLS/SCTP"] {
        let new = sctp(&format!(
            "m=application 9 {protocol} webrtc-datachannel|a=sctp-port:7000|a=max-message-size:100"
        ));
        assert_eq!((new.sctp_port, new.max_message_size, new.use_sctpmap), (7000, Some(100), false));
        let old = sctp(&format!("m=application 9 {protocol} 6000|a=sctpmap:6000 webrtc-datachannel 1024"));
        assert_eq!((old.sctp_port, old.max_message_size, old.use_sctpmap), (6000, None, true));
        assert_eq!(old.effective_max_message_size(), Some(65_536));
    }
    let both = sctp(
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel|a=sctpmap:1 webrtc-datachannel 5|a=sctp-port:2|a=max-message-size:0",
    );
    assert_eq!((both.sctp_port, both.effective_max_message_size()), (2, None));
    assert_eq!(sctp("m=application 9 UDP/DTLS/SCTP webrtc-datachannel").sctp_port, 5000);
    for (bad, line) in [
        ("m=application 9 DTLS/SCTP 5000|a=sctp-port:5000", 6),
        ("m=application 9 UDP/DTLS/SCTP webrtc-datachannel|a=sctp-port:x", 6),
        ("m=application 9 UDP/DTLS/SCTP webrtc-datachannel|a=sctp-port:65536", 6),
        ("m=application 9 UDP/DTLS/SCTP webrtc-datachannel|a=max-message-size:-1", 6),
        ("m=application 9 DTLS/SCTP 5000|a=sctpmap:x webrtc-datachannel", 6),
        ("m=application 9 DTLS/SCTP 5000|a=sctpmap:5001 webrtc-datachannel 1", 5),
        ("m=application 9 DTLS/SCTP data", 5),
        ("m=application 9 DTLS/SCTP", 5),
    ] {
        assert_eq!(of(bad).unwrap_err().line_number, line, "{bad}");
    }
    for text in [
        "m=application 9 DTLS/SCTP 6000\nc=IN IP4 0.0.0.0\na=sctpmap:6000 webrtc-datachannel 1024\n",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\nc=IN IP6 ::\na=sctp-port:7000\na=max-message-size:0\n",
    ] {
        let description = of(text).unwrap();
        assert_eq!(parse(&serialize(&description)).unwrap(), description);
    }
}

/// P12: connection lines.
#[test]
fn connections() {
    let of = |line: &str| parse(&audio(line)).unwrap().contents[0].connection_address.clone().unwrap();
    assert_eq!(of("c=IN IP6 2001:db8::1"), CandidateAddress::Ip("[2001:db8::1]:9".parse().unwrap()));
    assert_eq!(of("c=IN IP4 peer.example.org"), CandidateAddress::Name("peer.example.org".into(), 9));
    assert_eq!(of("c=IN IP4 224.2.1.1/127/3"), CandidateAddress::Ip("224.2.1.1:9".parse().unwrap()));
    // After an attribute, as some peers write it.
    assert_eq!(of("a=mid:0|c=IN IP4 192.0.2.1"), CandidateAddress::Ip("192.0.2.1:9".parse().unwrap()));
    refused(
        audio,
        &[
            "c=IN",
            "c=IN IP4",
            "c=OUT IP4 192.0.2.1",
            "c=IN IP5 192.0.2.1",
            "c=IN IP6 192.0.2.1",
            "c=IN IP4 ::1",
            "c=IN IP4 1.2.3",
        ],
    );
}

/// P13: what is said of SSRCs.
#[test]
fn ssrcs() {
    let of = rtp(&video(
        "a=ssrc:1 label:x|a=ssrc:2 cname:c|a=ssrc:2 msid:s t|a=ssrc:4294967295 nothing|a=ssrc-group:FID 1 2|a=ssrc-group:SIM 1",
    ));
    let ssrcs: Vec<_> = of.ssrcs.iter().map(|info| (info.ssrc, info.cname.as_deref())).collect();
    assert_eq!(ssrcs, [(1, None), (2, Some("c")), (u32::MAX, None)]);
    assert_eq!(of.ssrcs[1].msid.as_ref().unwrap().track_id.as_deref(), Some("t"));
    assert_eq!(of.ssrc_groups.len(), 2);
    refused(
        video,
        &[
            "a=ssrc:1",
            "a=ssrc:x cname:c",
            "a=ssrc:4294967296 cname:c",
            "a=ssrc-group:FID",
            "a=ssrc-group:FID 1 x",
            "a=ssrc-group:FID 1 1",
            "a=ssrc-group:",
        ],
    );
}
