//! Vectors of RFC 3711, 6904 and 7714, and what a context refuses.

use peerstack_base::Random;
use peerstack_dtls::SrtpProtectionProfile::{self, *};

use super::*;
use crate::test_util::{corpus, hex, rtcp, rtp, rtp_with};

pub(crate) const PROFILES: [SrtpProtectionProfile; 4] =
    [Aes128CmSha1_80, Aes128CmSha1_32, AeadAes128Gcm, AeadAes256Gcm];

pub(crate) fn key(profile: SrtpProtectionProfile) -> SrtpKey {
    let key: Vec<u8> = (0..profile.key_len() as u8).collect();
    let salt: Vec<u8> = (100..100 + profile.salt_len() as u8).collect();
    SrtpKey::new(profile, &key, &salt).unwrap()
}

fn context(profile: SrtpProtectionProfile) -> SrtpContext {
    SrtpContext::new(&key(profile), &[]).unwrap()
}

/// Protects as a sender would, in a buffer with room.
pub(crate) fn protect(backend: &mut dyn SrtpBackend, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + 16, 0xEE);
    let len = backend.protect_rtp(&mut buffer, packet.len())?;
    buffer.truncate(len);
    Ok(buffer)
}

pub(crate) fn unprotect(backend: &mut dyn SrtpBackend, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut buffer = packet.to_vec();
    let len = backend.unprotect_rtp(&mut buffer)?;
    buffer.truncate(len);
    Ok(buffer)
}

pub(crate) fn protect_rtcp(backend: &mut dyn SrtpBackend, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + 20, 0xEE);
    let len = backend.protect_rtcp(&mut buffer, packet.len())?;
    buffer.truncate(len);
    Ok(buffer)
}

pub(crate) fn unprotect_rtcp(backend: &mut dyn SrtpBackend, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut buffer = packet.to_vec();
    let len = backend.unprotect_rtcp(&mut buffer)?;
    buffer.truncate(len);
    Ok(buffer)
}

fn rfc_master() -> SrtpKey {
    let (key, salt) = (hex("E1F97A0D3E018BE0D64FA32C06DE4139"), hex("0EC675AD498AFEEBB6960B3AABE6"));
    SrtpKey::new(Aes128CmSha1_80, &key, &salt).unwrap()
}

/// The packet that many implementations validate themselves with, under the master key of RFC 3711 appendix B.3.
#[test]
fn aes_cm_packet_of_the_reference() {
    let plain = hex("800f1234decafbadcafebabe abababababababababababababababab");
    let sealed = hex("800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb");
    let mut sender = SrtpContext::new(&rfc_master(), &[]).unwrap();
    assert_eq!(protect(&mut sender, &plain), Ok(sealed.clone()));
    let mut receiver = SrtpContext::new(&rfc_master(), &[]).unwrap();
    assert_eq!(unprotect(&mut receiver, &sealed), Ok(plain));
}

/// RFC 6904 appendix A: extensions 1, 3 and 4 encrypted, 2 in the clear.
#[test]
fn encrypted_header_extensions_of_the_rfc() {
    let plain = hex("900f1234decafbadcafebabe bede0006 17414273A475262748220000C8308E4655996386B395FB00
        abababababababababababababababab");
    let sealed = hex("900f1234decafbadcafebabe bede0006 17588A9270F4E15E1C220000C8309546A994F0BC54789700
        4e55dc4ce79978d88ca4d215949d2402 5a46b3ca35c535a891c7");
    let mut sender = SrtpContext::new(&rfc_master(), &[1, 3, 4]).unwrap();
    assert_eq!(protect(&mut sender, &plain), Ok(sealed.clone()));
    let mut receiver = SrtpContext::new(&rfc_master(), &[1, 3, 4]).unwrap();
    assert_eq!(unprotect(&mut receiver, &sealed), Ok(plain));
}

const GCM_SALT: [u8; 12] = *b"Quid pro quo";

/// RFC 7714 sections 16.1.1 and 16.2.1.
#[test]
fn gcm_rtp_packets_of_the_rfc() {
    let plain = hex("8040f17b8041f8d35501a0b2
        47616c6c696120657374206f6d6e697320646976697361 20696e207061727465732074726573");
    let vectors = [
        (
            "000102030405060708090a0b0c0d0e0f",
            "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833
             899d7f27beb16a9152cf765ee4390cce",
        ),
        (
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b
             7aa3db36dfffd6b0f9bb7878d7a76c13",
        ),
    ];
    for (key, sealed) in vectors {
        let cipher = RtpCipher::gcm_with_session_key(&hex(key), GCM_SALT);
        let mut packet = plain.clone();
        packet.resize(plain.len() + 16, 0);
        cipher.protect(&mut packet, 12, 0x5501_a0b2, 0xf17b).unwrap();
        assert_eq!(packet, hex(sealed), "key of {} bytes", key.len() / 2);
        cipher.unprotect(&mut packet, 12, 0x5501_a0b2, 0xf17b).unwrap();
        assert_eq!(packet[..plain.len()], plain);
    }
}

/// RFC 7714 section 17.1.
#[test]
fn gcm_rtcp_packet_of_the_rfc() {
    let plain = hex("81c8000d4d617273 4e5450314e54503252545020 0000042a0000e930 4c756e61
        deadbeefdeadbeefdeadbeefdeadbeefdeadbeef");
    let sealed = hex("81c8000d4d617273 63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda
        4ce09b4686303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4");
    let cipher = RtcpCipher::gcm_with_session_key(&hex("000102030405060708090a0b0c0d0e0f"), GCM_SALT);
    let mut packet = plain.clone();
    packet.resize(plain.len() + 20, 0);
    cipher.protect(&mut packet, 0x4d61_7273, 0x5d4).unwrap();
    assert_eq!(packet, sealed);
    assert_eq!(cipher.index(&packet), Ok((0x5d4, true)));
    cipher.unprotect(&mut packet, 0x4d61_7273, 0x5d4).unwrap();
    assert_eq!(packet[..plain.len()], plain);
}

/// D16: all profiles, RTP and RTCP, with and without encrypted header extensions; RTCP's tag has 80 bits always.
#[test]
fn every_profile_protects_rtp_and_rtcp() {
    for profile in PROFILES {
        for encrypted in [&[][..], &[1, 20]] {
            let mut sender = SrtpContext::new(&key(profile), encrypted).unwrap();
            let mut receiver = SrtpContext::new(&key(profile), encrypted).unwrap();
            for (i, extensions) in
                [&[][..], &[(1, &b"0"[..]), (2, b"hello")], &[(1, b"0"), (20, &[7; 255]), (3, &[7; 200])]]
                    .into_iter()
                    .enumerate()
            {
                let plain = rtp_with(7, 100 + i as u16, 96, extensions, b"payload");
                let sealed = protect(&mut sender, &plain).unwrap();
                assert_eq!(sealed.len(), plain.len() + rtp_overhead(profile));
                let header = RtpHeaderView::parse(&plain).unwrap().len();
                assert_ne!(sealed[header..plain.len()], plain[header..]);
                assert_eq!(
                    sealed[..header] == plain[..header],
                    extensions.is_empty() || encrypted.is_empty(),
                    "{profile:?}"
                );
                assert_eq!(unprotect(&mut receiver, &sealed), Ok(plain), "{profile:?}");
            }
            let plain = [rtcp(7), rtcp(8)].concat();
            let sealed = protect_rtcp(&mut sender, &plain).unwrap();
            let overhead = if profile.salt_len() == 14 { 14 } else { 20 };
            assert_eq!(sealed.len(), plain.len() + overhead);
            assert_eq!(unprotect_rtcp(&mut receiver, &sealed), Ok(plain));
        }
    }
}

/// D17: any bit changed, and the packet is refused; no state is made by it.
#[test]
fn tampered_packets_are_refused_and_leave_no_trace() {
    for profile in PROFILES {
        let mut sender = context(profile);
        let sealed = protect(&mut sender, &rtp(7, 1, b"payload")).unwrap();
        let sealed_rtcp = protect_rtcp(&mut sender, &[rtcp(7), rtcp(8)].concat()).unwrap();
        let mut receiver = context(profile);
        for bit in 0..sealed.len() * 8 {
            let mut packet = sealed.clone();
            packet[bit / 8] ^= 1 << (bit % 8);
            assert!(unprotect(&mut receiver, &packet).is_err(), "{profile:?} bit {bit}");
        }
        for bit in 0..sealed_rtcp.len() * 8 {
            let mut packet = sealed_rtcp.clone();
            packet[bit / 8] ^= 1 << (bit % 8);
            let refused = unprotect_rtcp(&mut receiver, &packet);
            // The padding bit and the count are not authenticated apart: they are part of the header, which is.
            assert!(refused.is_err(), "{profile:?} bit {bit}");
        }
        assert!(receiver.rtp_streams.is_empty() && receiver.rtcp_streams.is_empty());
        assert!(unprotect(&mut receiver, &sealed).is_ok());
        assert!(unprotect_rtcp(&mut receiver, &sealed_rtcp).is_ok());
    }
}

/// Forged SRTCP that says it is not encrypted (E = 0) is refused, whatever its tag.
#[test]
fn srtcp_without_encryption_is_refused() {
    for profile in PROFILES {
        let mut forged = rtcp(7);
        forged.extend([0; 24]);
        assert_eq!(unprotect_rtcp(&mut context(profile), &forged), Err(SrtpError::NotEncrypted));
    }
}

/// D17: too small a buffer is an error, and changes nothing.
#[test]
fn a_buffer_without_room_is_refused() {
    for profile in PROFILES {
        let mut sender = context(profile);
        let mut packet = rtp(7, 1, b"payload");
        let len = packet.len();
        let need = len + rtp_overhead(profile);
        packet.resize(need - 1, 0);
        let refused = sender.protect_rtp(&mut packet, len);
        assert_eq!(refused, Err(SrtpError::BufferTooSmall { need, have: need - 1 }));
        assert!(sender.rtp_streams.is_empty());
        let mut packet = rtcp(7);
        assert!(matches!(sender.protect_rtcp(&mut packet, 8), Err(SrtpError::BufferTooSmall { .. })));
        assert!(matches!(sender.protect_rtcp(&mut [0x80; 40], 7), Err(SrtpError::Rtcp(_))));
        assert!(matches!(sender.protect_rtp(&mut [0x80; 40], 11), Err(SrtpError::Rtp(_))));
    }
}

/// D18: replays are refused, inside the window and behind it, over the roll-over of the sequence number.
#[test]
fn replays_are_refused_over_the_roll_over() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = (context(profile), context(profile));
        let mut sent = Vec::new();
        for i in 0..1500u16 {
            let packet = rtp(7, 65_000u16.wrapping_add(i), &i.to_be_bytes());
            sent.push((packet.clone(), protect(&mut sender, &packet).unwrap()));
        }
        // Reordered by pairs, every seventh lost at first.
        for pair in sent.chunks(2) {
            for (i, (plain, sealed)) in pair.iter().enumerate().rev() {
                if sealed[3] % 7 != 0 || i == 0 {
                    assert_eq!(unprotect(&mut receiver, sealed).as_ref(), Ok(plain));
                    assert_eq!(unprotect(&mut receiver, sealed), Err(SrtpError::Replayed));
                }
            }
        }
        assert_eq!(unprotect(&mut receiver, &sent[0].1), Err(SrtpError::TooOld));
        assert_eq!(unprotect(&mut receiver, &sent[1400].1), Err(SrtpError::Replayed));
    }
}

/// D18: a receiver that lost everything around the roll-over takes the wrong counter, and sees that by the tag.
#[test]
fn a_wrong_roll_over_counter_fails_authentication() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = (context(profile), context(profile));
        let first = protect(&mut sender, &rtp(7, 10, b"a")).unwrap();
        assert!(unprotect(&mut receiver, &first).is_ok());
        for sequence_number in [30_000, 60_000, 20_000] {
            let sealed = protect(&mut sender, &rtp(7, sequence_number, b"a")).unwrap();
            let lost = sequence_number != 20_000;
            if !lost {
                assert_eq!(unprotect(&mut receiver, &sealed), Err(SrtpError::Authentication));
            }
        }
    }
}

/// A sender's index serves one packet, which may go out again (a retransmission without RTX).
#[test]
fn an_index_serves_one_packet() {
    for profile in PROFILES {
        let mut sender = context(profile);
        let first = protect(&mut sender, &rtp(7, 1, b"payload")).unwrap();
        assert_eq!(protect(&mut sender, &rtp(7, 1, b"payloae")), Err(SrtpError::IndexReused));
        assert_eq!(protect(&mut sender, &rtp(7, 1, b"payload")), Ok(first), "{profile:?}");
        protect(&mut sender, &rtp(7, 600, b"payload")).unwrap();
        assert_eq!(protect(&mut sender, &rtp(7, 1, b"payload")), Err(SrtpError::IndexReused), "too long ago");
        protect(&mut sender, &rtp(7, 2000, b"payload")).unwrap();
        assert_eq!(protect(&mut sender, &rtp(7, 2, b"payload")), Err(SrtpError::TooOld));
    }
}

/// What the other packet would have been is not left in the buffer.
#[test]
fn a_refused_packet_is_wiped() {
    let mut sender = context(AeadAes128Gcm);
    protect(&mut sender, &rtp(7, 1, b"payload")).unwrap();
    let mut buffer = rtp(7, 1, b"another");
    let len = buffer.len();
    buffer.resize(len + 16, 1);
    assert_eq!(sender.protect_rtp(&mut buffer, len), Err(SrtpError::IndexReused));
    assert!(buffer.iter().all(|byte| *byte == 0));
}

/// RFC 3711 section 9.2: no packet beyond 2^48, no RTCP packet beyond 2^31.
#[test]
fn a_used_up_key_protects_nothing_more() {
    let mut sender = context(AeadAes128Gcm);
    sender.rtp_streams.insert(7, ReplayWindow::starting_at((1 << 48) - 2));
    assert!(protect(&mut sender, &rtp(7, 0xFFFF, b"last")).is_ok());
    assert_eq!(protect(&mut sender, &rtp(7, 0, b"more")), Err(SrtpError::KeyExpired));
    sender.rtcp_streams.insert(7, ReplayWindow::starting_at(u64::from(MAX_SRTCP_INDEX) - 1));
    assert!(protect_rtcp(&mut sender, &rtcp(7)).is_ok());
    assert_eq!(protect_rtcp(&mut sender, &rtcp(7)), Err(SrtpError::KeyExpired));
}

#[test]
fn sources_are_bounded() {
    let (mut sender, mut receiver) = (context(AeadAes128Gcm), context(AeadAes128Gcm));
    let mut other = context(AeadAes128Gcm);
    for ssrc in 0..MAX_SSRCS as u32 {
        let sealed = protect(&mut sender, &rtp(ssrc, 1, b"")).unwrap();
        assert!(unprotect(&mut receiver, &sealed).is_ok());
    }
    let one_more = rtp(u32::MAX, 1, b"");
    assert_eq!(protect(&mut sender, &one_more), Err(SrtpError::TooManySsrcs));
    let sealed = protect(&mut other, &one_more).unwrap();
    assert_eq!(unprotect(&mut receiver, &sealed), Err(SrtpError::TooManySsrcs));
    assert!(receiver.remove_stream(5));
    assert!(unprotect(&mut receiver, &sealed).is_ok());
}

/// Random and mutated bytes, and the public corpora: refused, never a panic.
#[test]
fn hostile_bytes_are_refused() {
    let mut random = Random::from_seed(1);
    let mut inputs: Vec<Vec<u8>> = [corpus("rtp-corpus"), corpus("rtcp-corpus")].concat();
    for len in 0..64 {
        for _ in 0..64 {
            let mut bytes = vec![0; len];
            random.fill(&mut bytes);
            inputs.push(bytes.clone());
            if let Some(first) = bytes.first_mut() {
                *first = 0x80 | (*first & 0x3F);
            }
            inputs.push(bytes);
        }
    }
    for profile in PROFILES {
        let mut receiver = SrtpContext::new(&key(profile), &[1, 3]).unwrap();
        for input in &inputs {
            assert!(unprotect(&mut receiver, input).is_err());
            assert!(unprotect_rtcp(&mut receiver, input).is_err());
            let mut sender = SrtpContext::new(&key(profile), &[1, 3]).unwrap();
            if let Ok(sealed) = protect(&mut sender, input) {
                let mut other = SrtpContext::new(&key(profile), &[1, 3]).unwrap();
                assert_eq!(unprotect(&mut other, &sealed).as_ref(), Ok(input));
            }
            let _ = protect_rtcp(&mut sender, input);
        }
    }
}
