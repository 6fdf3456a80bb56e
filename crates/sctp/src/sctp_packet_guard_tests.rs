//! Tests of `PacketGuard`, rule by rule.

use super::*;
use crate::sctp_packet::build;

const TAG: u32 = 77;
const HEADER: CommonHeader =
    CommonHeader { source_port: 5000, destination_port: 5000, verification_tag: TAG };

fn guard() -> PacketGuard {
    let mut guard = PacketGuard::new(1024, 1 << 20);
    guard.local_tag = Some(TAG);
    guard.highest_sent = Some(1000);
    guard.set_peer_initial_tsn(1);
    guard
}

fn data(tsn: u32, sid: u16, ssn: u16, flags: u8, len: usize) -> Vec<u8> {
    let mut chunk = vec![chunk_type::DATA, flags];
    chunk.extend_from_slice(&(16 + len as u16).to_be_bytes());
    chunk.extend_from_slice(&tsn.to_be_bytes());
    chunk.extend_from_slice(&sid.to_be_bytes());
    chunk.extend_from_slice(&ssn.to_be_bytes());
    chunk.extend_from_slice(&53_u32.to_be_bytes());
    chunk.resize(16 + len, 1);
    chunk
}

fn sack(cumulative: u32, gaps: &[(u16, u16)]) -> Vec<u8> {
    let mut chunk = vec![chunk_type::SACK, 0];
    chunk.extend_from_slice(&(16 + 4 * gaps.len() as u16).to_be_bytes());
    chunk.extend_from_slice(&cumulative.to_be_bytes());
    chunk.extend_from_slice(&1_000_000_u32.to_be_bytes());
    chunk.extend_from_slice(&(gaps.len() as u16).to_be_bytes());
    chunk.extend_from_slice(&[0, 0]);
    for (start, end) in gaps {
        chunk.extend_from_slice(&start.to_be_bytes());
        chunk.extend_from_slice(&end.to_be_bytes());
    }
    chunk
}

fn reset(last_tsn: u32, sids: &[u16]) -> Vec<u8> {
    let mut parameter = vec![0, 13];
    parameter.extend_from_slice(&(16 + 2 * sids.len() as u16).to_be_bytes());
    parameter.extend_from_slice(&[0; 8]);
    parameter.extend_from_slice(&last_tsn.to_be_bytes());
    for sid in sids {
        parameter.extend_from_slice(&sid.to_be_bytes());
    }
    reconfig(&parameter)
}

fn reconfig(parameters: &[u8]) -> Vec<u8> {
    let mut chunk = vec![chunk_type::RECONFIG, 0];
    chunk.extend_from_slice(&(4 + parameters.len() as u16).to_be_bytes());
    chunk.extend_from_slice(parameters);
    chunk
}

fn admit(guard: &mut PacketGuard, chunks: &[&[u8]]) -> Admission {
    guard.admit(&build(HEADER, chunks.iter().copied()))
}

fn passes(guard: &mut PacketGuard, chunk: &[u8]) -> bool {
    admit(guard, &[chunk]) == Admission::Pass
}

#[test]
fn another_tag_and_no_chunk_are_refused() {
    let chunk = data(1, 0, 0, 3, 10);
    let mut guard = guard();
    assert!(passes(&mut guard, &chunk));
    let other = build(CommonHeader { verification_tag: TAG + 1, ..HEADER }, [&chunk[..]]);
    assert_eq!(guard.admit(&other), Admission::Refused);
    assert_eq!(admit(&mut guard, &[]), Admission::Refused);
    assert_eq!(guard.admit(&[]), Admission::Refused);
    let large = data(1, 0, 0, 3, MAX_PACKET);
    assert!(!passes(&mut guard, &large));
    guard.local_tag = None;
    assert!(!passes(&mut guard, &chunk));
}

/// Chunks of no bytes would fill memory without filling the window.
#[test]
fn data_without_payload_is_taken_out() {
    let mut guard = guard();
    assert!(!passes(&mut guard, &data(1, 0, 0, 3, 0)));
    let (empty, full) = (data(1, 0, 0, 3, 0), data(2, 0, 0, 3, 4));
    let Admission::Rewritten(packet) = admit(&mut guard, &[&empty, &full]) else { panic!() };
    assert_eq!(chunks(&packet).unwrap().len(), 1);
    assert!(checksum_matches(&packet));
    let mut damaged = build(HEADER, [&empty[..], &full]).to_vec();
    damaged[20] ^= 1;
    assert_eq!(guard.admit(&damaged), Admission::Refused);
}

/// K15: a stream beyond what was agreed on.
#[test]
fn a_stream_beyond_the_limit_is_taken_out() {
    let mut guard = guard();
    assert!(passes(&mut guard, &data(1, 1023, 0, 3, 4)));
    assert!(!passes(&mut guard, &data(2, 1024, 0, 3, 4)));
}

/// Serial numbers that spread over half their space have no order, and `sort_by` panics.
#[test]
fn sequence_numbers_stay_in_a_window() {
    let mut guard = guard();
    assert!(passes(&mut guard, &data(65_535, 0, 0, 7, 4)));
    assert!(!passes(&mut guard, &data(65_536, 0, 0, 7, 4)));
    assert!(!passes(&mut guard, &data(0x8000_0000, 0, 0, 7, 4)));
    assert!(passes(&mut guard, &data(0, 0, 0, 7, 4)), "a duplicate");
    assert!(passes(&mut guard, &data(2, 1, 100, 3, 4)));
    assert!(passes(&mut guard, &data(3, 1, 100 + 8191, 3, 4)));
    assert!(!passes(&mut guard, &data(4, 1, 100 + 8192, 3, 4)));
    assert!(!passes(&mut guard, &data(4, 1, 40_000, 3, 4)));
    assert!(passes(&mut guard, &data(0, 1, 40_000, 3, 4)), "a duplicate");
    // Each message read moves the window, and when nothing waits it is where the next message is.
    guard.on_read(1, 1);
    assert!(passes(&mut guard, &data(4, 1, 100 + 8192, 3, 4)));
    guard.on_sack_sent(4, 1 << 20);
    assert!(passes(&mut guard, &data(5, 1, 40_000, 3, 4)));
}

/// A chunk that the association had no room for must not move the window past itself.
#[test]
fn a_chunk_that_was_not_stored_may_come_again() {
    let mut guard = guard();
    let chunk = data(1, 0, 0, 3, 4);
    assert!(passes(&mut guard, &chunk));
    guard.on_sack_sent(0, 1 << 20);
    assert!(passes(&mut guard, &chunk));
}

/// One-byte chunks hardly fill the window.
#[test]
fn waiting_chunks_are_counted() {
    let mut guard = guard();
    guard.on_sack_sent(32_768, 1000);
    assert!(!passes(&mut guard, &data(32_769, 0, 0, 7, 1)));
    guard.on_read(0, 1);
    assert!(passes(&mut guard, &data(32_769, 0, 0, 7, 1)));
}

/// K26: blocks that do not rise, and TSNs never sent, are ignored.
#[test]
fn impossible_sacks_are_taken_out() {
    let mut guard = guard();
    for (cumulative, gaps, good) in [
        (990, &[][..], true),
        (1000, &[], true),
        (1001, &[], false),
        (990, &[(2, 3), (5, 10)], true),
        (990, &[(2, 3), (5, 11)], false),
        (990, &[(0, 3)], false),
        (990, &[(3, 2)], false),
        (990, &[(2, 4), (4, 5)], false),
        (0, &[(1, 65_535)], false),
    ] {
        assert_eq!(passes(&mut guard, &sack(cumulative, gaps)), good, "{cumulative} {gaps:?}");
    }
    let mut short = sack(990, &[]);
    short[13] = 9;
    assert!(!passes(&mut guard, &short));
}

#[test]
fn resets_that_cannot_be_are_taken_out() {
    let mut guard = guard();
    assert!(passes(&mut guard, &reset(0, &[1, 2])));
    assert!(!passes(&mut guard, &reset(70_000, &[1])));
    assert!(!passes(&mut guard, &reconfig(&[0, 17, 0, 12, 0, 0, 0, 1, 0, 1, 0, 0])), "add streams");
    assert!(!passes(&mut guard, &reconfig(&[0, 1, 0, 4])), "not a parameter of RE-CONFIG");
    assert!(!passes(&mut guard, &reconfig(&[0, 13, 0, 0])));
    assert!(!passes(&mut guard, &reconfig(&[])));
    let response = [0, 16, 0, 12, 0, 0, 0, 1, 0, 0, 0, 1];
    assert!(passes(&mut guard, &reconfig(&response)));
    let mut odd_pair = reset(0, &[1, 2])[4..].to_vec();
    odd_pair.extend_from_slice(&response);
    assert!(!passes(&mut guard, &reconfig(&odd_pair)));
}

/// K21: data behind a reset that is not performed yet comes again when it is.
#[test]
fn data_behind_a_pending_reset_waits() {
    let mut guard = guard();
    assert!(passes(&mut guard, &reset(5, &[1])));
    assert!(passes(&mut guard, &data(5, 1, 0, 3, 4)));
    assert!(!passes(&mut guard, &data(6, 1, 0, 3, 4)));
    assert!(passes(&mut guard, &data(6, 2, 0, 3, 4)));
    guard.on_sack_sent(5, 1000);
    assert!(passes(&mut guard, &data(6, 1, 0, 3, 4)));
}

/// K26: an unknown chunk is skipped or ends the packet, and is reported, as its two highest bits say
/// (RFC 9260 section 3.2); ERROR is not fatal.
#[test]
fn unknown_chunks_follow_their_bits() {
    let after = data(1, 0, 0, 3, 4);
    for (kind, goes_on, reports) in
        [(0x3f, false, false), (0x7f, false, true), (0xbf, true, false), (0xff, true, true)]
    {
        let mut guard = guard();
        let admission = admit(&mut guard, &[&[kind, 0, 0, 4], &after]);
        assert_eq!(matches!(admission, Admission::Rewritten(_)), goes_on);
        assert_eq!(guard.report.is_some(), reports);
        if reports {
            assert_eq!(guard.report.unwrap(), [9, 0, 0, 12, 0, 6, 0, 8, kind, 0, 0, 4]);
        }
    }
    let error = [chunk_type::ERROR, 0, 0, 8, 0, 6, 0, 4];
    assert!(matches!(admit(&mut guard(), &[&error, &after]), Admission::Rewritten(_)));
    assert_eq!(admit(&mut guard(), &[&error]), Admission::Refused);
    assert!(!passes(
        &mut guard(),
        &[chunk_type::INIT, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]
    ));
}

#[test]
fn any_bytes_have_a_verdict() {
    let mut random = peerstack_base::Random::from_seed(11);
    let mut guard = guard();
    for _ in 0..20_000 {
        let mut bytes = vec![0; random.below(200) as usize];
        random.fill(&mut bytes);
        if bytes.len() >= 8 {
            bytes[4..8].copy_from_slice(&TAG.to_be_bytes());
        }
        let _ = guard.admit(&bytes);
        let _ = PacketGuard::reset_streams(&bytes);
    }
}
