//! Candidates: priorities, foundations, the attribute and its hostile forms.

use peerstack_base::Random;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// T20 and the priorities of a first Wi-Fi network: host, server-reflexive, relay.
#[test]
fn priorities_of_a_first_ipv4_network() {
    for (candidate_type, expected) in [
        (CandidateType::Host, 2_122_260_223),
        (CandidateType::Srflx, 1_686_052_607),
        (CandidateType::Relay, 41_885_439),
    ] {
        let preference = type_preference(candidate_type, IceProtocol::Udp, None);
        assert_eq!(candidate_priority(preference, 127, ip("192.168.50.49"), 0, 1), expected);
    }
    assert_eq!(candidate_priority(126, 255, ip("::1"), u16::MAX, 1) >> 8 & 0xffff, 0xffff);
}

/// T20: the pair's priority is larger when the controlling side's is, all else equal.
#[test]
fn pair_priority_as_in_rfc_8445() {
    assert_eq!(candidate_pair_priority(3, 2), (2 << 32) + 6 + 1);
    assert_eq!(candidate_pair_priority(2, 3), (2 << 32) + 6);
    // A priority no peer may have does not overflow.
    assert_eq!(candidate_pair_priority(u32::MAX, u32::MAX), u64::MAX);
}

/// G34: loopback, ULA, global, IPv4, 6to4, Teredo, deprecated.
#[test]
fn address_precedence_ranks_families_and_scopes() {
    let ranked = ["::1", "fd00::1", "2001:db8::1", "192.0.2.1", "2002::1", "2001::1", "fec0::1"];
    let values: Vec<u8> = ranked.iter().map(|text| address_precedence(ip(text))).collect();
    assert_eq!(values, [60, 50, 40, 30, 20, 10, 1]);
    assert_eq!(address_precedence(ip("::ffff:192.0.2.1")), 30);
    assert_eq!(address_precedence(ip("3ffe::1")), 1);
    assert_eq!(address_precedence(ip("::192.0.2.1")), 1);
}

/// G32: type, base address, transport, server and relay protocol each change the foundation.
#[test]
fn foundations_differ_by_what_they_stand_for() {
    let base = |a: &str| candidate_foundation(CandidateType::Host, ip(a), IceProtocol::Udp, None, None);
    assert_eq!(base("192.0.2.1"), base("192.0.2.1"));
    let all = [
        base("192.0.2.1"),
        base("192.0.2.2"),
        candidate_foundation(CandidateType::Srflx, ip("192.0.2.1"), IceProtocol::Udp, None, Some("stun:a")),
        candidate_foundation(CandidateType::Srflx, ip("192.0.2.1"), IceProtocol::Udp, None, Some("stun:b")),
        candidate_foundation(CandidateType::Host, ip("192.0.2.1"), IceProtocol::Tcp, None, None),
        candidate_foundation(
            CandidateType::Relay,
            ip("192.0.2.1"),
            IceProtocol::Udp,
            Some("udp"),
            Some("turn:a"),
        ),
        candidate_foundation(
            CandidateType::Relay,
            ip("192.0.2.1"),
            IceProtocol::Udp,
            Some("tcp"),
            Some("turn:a"),
        ),
    ];
    for (index, one) in all.iter().enumerate() {
        assert!(!all[index + 1..].contains(one));
        assert!((1..=10).contains(&one.len()));
    }
}

/// P03: lines that libwebrtc writes come back byte by byte.
#[test]
fn attributes_round_trip() {
    for line in [
        "candidate:2047277109 1 udp 2122260223 192.168.50.49 65400 typ host generation 0 ufrag 0qbZ network-id 1 network-cost 10",
        "candidate:4216258177 1 udp 1686052607 59.109.147.213 54541 typ srflx raddr 192.168.50.49 rport 65400 generation 0 ufrag 0qbZ network-id 1 network-cost 10",
        "candidate:1 2 tcp 1518280447 2001:db8::7 9 typ host tcptype active generation 3",
        "candidate:1 1 udp 1 0f1c8d40-5e4d-4a51-a8a7-2f5d1c2f3b4a.local 50000 typ host generation 0",
    ] {
        assert_eq!(Candidate::parse(line).unwrap().to_sdp(), line);
        assert_eq!(Candidate::parse(&format!("a={line}\r\n")).unwrap().to_sdp(), line);
    }
}

/// P03: transport in any case, unknown extensions, missing tcptype, a name as raddr.
#[test]
fn attributes_are_read_leniently_where_rfc_8839_says_so() {
    let candidate = Candidate::parse(
        "candidate:a+/9 1 UDP 4294967295 192.0.2.1 0 typ srflx raddr x.local rport 7 foo bar ufrag abcd pwd x odd",
    )
    .unwrap();
    assert_eq!(candidate.protocol, IceProtocol::Udp);
    assert_eq!(candidate.related_address, None);
    assert_eq!(candidate.username_fragment, "abcd");
    let tcp = Candidate::parse("candidate:1 1 tcp 1 192.0.2.1 9 typ host").unwrap();
    assert_eq!(tcp.tcp_type, None);
    let cost = Candidate::parse("candidate:1 1 udp 1 192.0.2.1 9 typ host network-cost 5000").unwrap();
    assert_eq!(cost.network_cost, 999);
}

/// P03: each malformed field is named.
#[test]
fn malformed_attributes_say_what_is_wrong() {
    for (line, field) in [
        ("candidate:a.b 1 udp 1 192.0.2.1 9 typ host", "foundation"),
        ("candidate:123456789012345678901234567890123 1 udp 1 192.0.2.1 9 typ host", "foundation"),
        ("candidate:1 0 udp 1 192.0.2.1 9 typ host", "component"),
        ("candidate:1 257 udp 1 192.0.2.1 9 typ host", "component"),
        ("candidate:1 1 udp -1 192.0.2.1 9 typ host", "priority"),
        ("candidate:1 1 udp +1 192.0.2.1 9 typ host", "priority"),
        ("candidate:1 1 udp 4294967296 192.0.2.1 9 typ host", "priority"),
        ("candidate:1 1 udp 1 192.0.2.1 65536 typ host", "port"),
        ("candidate:1 1 udp 1 a..b 9 typ host", "address"),
        ("candidate:1 1 udp 1 192.0.2.1 9 type host", "type"),
        ("candidate:1 1 udp 1 192.0.2.1 9 typ local", "type"),
        ("candidate:1 1 tcp 1 192.0.2.1 9 typ host tcptype both", "tcptype"),
        ("candidate:1 1 udp 1 192.0.2.1 9 typ srflx raddr 10.0.0.1 rport x", "rport"),
        ("candidate:1 1 udp 1 192.0.2.1 9 typ host generation x", "generation"),
        ("candidate:1 1 udp 1 192.0.2.1 9 typ host ufrag a:b", "ufrag"),
    ] {
        match Candidate::parse(line) {
            Err(CandidateParseError::Invalid { field: found, .. }) => assert_eq!(found, field, "{line}"),
            other => panic!("{line}: {other:?}"),
        }
    }
    assert!(matches!(Candidate::parse("candidate:1 1"), Err(CandidateParseError::Missing { .. })));
    assert!(matches!(Candidate::parse("c=IN IP4"), Err(CandidateParseError::Prefix { .. })));
    assert!(matches!(Candidate::parse(&"x".repeat(5000)), Err(CandidateParseError::TooLong { .. })));
    let sctp = Candidate::parse("candidate:1 1 sctp 1 192.0.2.1 9 typ host").unwrap_err();
    assert!(sctp.is_ignorable() && sctp.to_string().contains("sctp"));
}

/// Random and mutated text never panics, and what is read is written so that it reads the same.
#[test]
fn any_text_is_survived() {
    let good =
        "candidate:1 1 udp 1 192.0.2.1 9 typ srflx raddr 10.0.0.1 rport 7 tcptype so generation 0 ufrag ab";
    let mut random = Random::from_seed(5);
    for _ in 0..20_000 {
        let mut bytes = good.as_bytes().to_vec();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len() as u64) as usize;
            match random.below(3) {
                0 => bytes[at] = random.u32() as u8,
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, b' '),
            }
        }
        if let Ok(candidate) = Candidate::parse(&String::from_utf8_lossy(&bytes)) {
            assert_eq!(Candidate::parse(&candidate.to_sdp()), Ok(candidate));
        }
    }
}
