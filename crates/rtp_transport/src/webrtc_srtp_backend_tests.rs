//! The crate as oracle of ours, and its measured traps.

use peerstack_base::Random;
use peerstack_dtls::SrtpProtectionProfile::*;

use super::*;
use crate::SrtpContext;
use crate::srtp_context::tests::{PROFILES, key, protect, protect_rtcp, unprotect, unprotect_rtcp};
use crate::test_util::{corpus, rtcp, rtp, rtp_with};

fn theirs(profile: SrtpProtectionProfile) -> Box<dyn SrtpBackend> {
    Box::new(WebrtcSrtpBackend::new(&key(profile)).unwrap())
}

fn ours(profile: SrtpProtectionProfile) -> Box<dyn SrtpBackend> {
    Box::new(SrtpContext::new(&key(profile), &[]).unwrap())
}

/// D16: what either protects, byte for byte the other would have, and unprotects: over the roll-over of the
/// sequence number, with loss and reordering.
#[test]
fn either_backend_reads_the_other() {
    for profile in PROFILES {
        let mut random = Random::from_seed(3);
        let (mut sender_a, mut sender_b) = (ours(profile), theirs(profile));
        let (mut receiver_a, mut receiver_b) = (ours(profile), theirs(profile));
        let mut queue: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for i in 0..3000u16 {
            let payload = vec![i as u8; random.below(1200) as usize];
            let extensions: &[(u8, &[u8])] = match i % 3 {
                0 => &[],
                1 => &[(1, b"0"), (3, b"abc")],
                _ => &[(1, b"0"), (200, &[9; 40])],
            };
            let ssrc = u32::from(i % 2);
            let plain = rtp_with(ssrc, 64_000u16.wrapping_add(i), 96, extensions, &payload);
            let sealed = protect(&mut *sender_a, &plain).unwrap();
            assert_eq!(protect(&mut *sender_b, &plain).as_ref(), Ok(&sealed), "{profile:?}");
            if !random.chance(0.2) {
                let at = queue.len() - random.below(queue.len().min(20) as u64 + 1) as usize;
                queue.insert(at, (plain, sealed));
            }
        }
        for (plain, sealed) in queue {
            assert_eq!(unprotect(&mut *receiver_a, &sealed).as_ref(), Ok(&plain), "{profile:?}");
            assert_eq!(unprotect(&mut *receiver_b, &sealed).as_ref(), Ok(&plain), "{profile:?}");
            assert_eq!(unprotect(&mut *receiver_a, &sealed), Err(SrtpError::Replayed));
            assert_eq!(unprotect(&mut *receiver_b, &sealed), Err(SrtpError::Replayed));
        }
        for i in 0..100 {
            let plain = [rtcp(i % 3), rtcp(i)].concat();
            let sealed = protect_rtcp(&mut *sender_a, &plain).unwrap();
            assert_eq!(protect_rtcp(&mut *sender_b, &plain).as_ref(), Ok(&sealed), "{profile:?}");
            assert_eq!(unprotect_rtcp(&mut *receiver_a, &sealed).as_ref(), Ok(&plain));
            assert_eq!(unprotect_rtcp(&mut *receiver_b, &sealed), Ok(plain));
            assert_eq!(unprotect_rtcp(&mut *receiver_b, &sealed), Err(SrtpError::Replayed));
        }
    }
}

/// The trap itself: the crate takes unauthenticated SRTCP for good if it says that it is not encrypted. If this
/// fails, the crate was mended and the guard may go.
#[test]
fn the_crate_alone_accepts_forged_srtcp() {
    let mut forged = rtcp(7);
    forged.extend([0; 14]);
    assert!(new_context(&key(Aes128CmSha1_80)).unwrap().decrypt_rtcp(&forged).is_ok());
}

#[test]
fn forged_srtcp_is_refused() {
    for profile in PROFILES {
        let mut forged = rtcp(7);
        forged.extend([0; 24]);
        assert_eq!(unprotect_rtcp(&mut *theirs(profile), &forged), Err(SrtpError::NotEncrypted));
    }
}

/// Packets of 4 to 13 bytes, and a header extension that is cut off, panic the crate before authentication.
#[test]
fn inputs_that_panic_the_crate_are_refused() {
    let extension = [0x90, 0x60, 0, 7, 0, 0, 0, 1, 1, 2, 3, 4, 0xbe, 0xde, 0, 1, 0x10, 0xff, 0x26, 1];
    for profile in PROFILES {
        let mut receiver = theirs(profile);
        for len in 0..40 {
            let mut packet = rtcp(7);
            packet.resize(len, 0xFF);
            assert!(unprotect_rtcp(&mut *receiver, &packet).is_err());
        }
        let mut packet = extension.to_vec();
        assert!(unprotect(&mut *receiver, &packet).is_err());
        packet.extend([0; 32]);
        assert!(unprotect(&mut *receiver, &packet).is_err());
    }
}

/// D17, D18: refused, and nothing is remembered of it, however many sources are forged.
#[test]
fn forged_sources_leave_nothing() {
    let mut receiver = WebrtcSrtpBackend::new(&key(AeadAes128Gcm)).unwrap();
    for ssrc in 0..3000 {
        let mut packet = rtp(ssrc, 1, &[0; 32]);
        assert_eq!(receiver.unprotect_rtp(&mut packet), Err(SrtpError::Authentication));
        let mut packet = rtcp(ssrc);
        packet.extend([0xFF; 32]);
        assert_eq!(receiver.unprotect_rtcp(&mut packet), Err(SrtpError::Authentication));
        assert!(receiver.rtp_probe.uses <= MAX_PROBES && receiver.rtcp_probe.uses <= MAX_PROBES);
    }
    assert!(receiver.rtp_streams.is_empty() && receiver.rtcp_streams.is_empty());
}

/// D19 for this backend.
#[test]
fn a_removed_source_is_new_again() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = (ours(profile), theirs(profile));
        let sealed = protect(&mut *sender, &rtp(7, 1, b"payload")).unwrap();
        assert!(unprotect(&mut *receiver, &sealed).is_ok());
        assert!(receiver.remove_stream(7));
        assert!(unprotect(&mut *receiver, &sealed).is_ok());
    }
}

/// As the backend of ours.
#[test]
fn an_index_serves_one_packet() {
    for profile in PROFILES {
        let mut sender = theirs(profile);
        let first = protect(&mut *sender, &rtp(7, 1, b"payload")).unwrap();
        assert_eq!(protect(&mut *sender, &rtp(7, 1, b"payloae")), Err(SrtpError::IndexReused));
        assert_eq!(protect(&mut *sender, &rtp(7, 1, b"payload")), Ok(first), "{profile:?}");
    }
}

#[test]
fn hostile_bytes_are_refused() {
    let inputs = [corpus("rtp-corpus"), corpus("rtcp-corpus")].concat();
    for profile in PROFILES {
        let mut receiver = theirs(profile);
        for input in &inputs {
            assert!(unprotect(&mut *receiver, input).is_err());
            assert!(unprotect_rtcp(&mut *receiver, input).is_err());
            let _ = protect(&mut *theirs(profile), input);
            let _ = protect_rtcp(&mut *theirs(profile), input);
        }
    }
}
