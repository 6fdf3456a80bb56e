//! SRTP and SRTCP (RFC 3711, RFC 7714, RFC 6904): what is protected comes out as it was, what was changed on the way
//! is refused, and both backends agree.

#![no_main]

use std::hash::{DefaultHasher, Hash, Hasher};

use libfuzzer_sys::fuzz_target;
use peerstack_dtls::SrtpProtectionProfile;
use peerstack_fuzz::Input;
use peerstack_rtp_transport::{RtpHeaderView, SrtpBackend, SrtpBackendKind, SrtpError, SrtpKey};

const PROFILES: [SrtpProtectionProfile; 4] = [
    SrtpProtectionProfile::Aes128CmSha1_80,
    SrtpProtectionProfile::Aes128CmSha1_32,
    SrtpProtectionProfile::AeadAes128Gcm,
    SrtpProtectionProfile::AeadAes256Gcm,
];
/// Room for the longest tag.
const TAG: usize = 20;

type Backend = Box<dyn SrtpBackend>;
type Call = fn(&mut Backend, &mut [u8]) -> Result<usize, SrtpError>;

struct Session {
    sender: Backend,
    receiver: Backend,
    /// webrtc-srtp, where it supports what is asked for.
    oracle: Option<Backend>,
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let profile = PROFILES[input.below(4)];
    let ids: Vec<u8> = (0..input.below(3)).map(|_| input.byte()).filter(|id| *id > 0).collect();
    let key = key_of(data, profile);
    let Ok(sender) = SrtpBackendKind::InPlace.create(&key, &ids) else { return };
    let mut session = Session {
        sender,
        receiver: SrtpBackendKind::InPlace.create(&key, &ids).unwrap(),
        oracle: SrtpBackendKind::WebrtcSrtp.create(&key, &ids).ok(),
    };
    while !input.is_empty() {
        match input.byte() % 8 {
            0..=2 => session.rtp(&mut input),
            3..=4 => session.rtcp(&mut input),
            5 => {
                let ssrc = u32::from(input.byte() % 4);
                session.sender.remove_stream(ssrc);
                session.receiver.remove_stream(ssrc);
                session.oracle.as_mut().map(|oracle| oracle.remove_stream(ssrc));
            }
            _ => session.hostile(input.chunk()),
        }
    }
});

/// A key of this input's own: what the fuzzer learns of the tags of one input opens nothing in the next, where it
/// would be bytes "that nobody protected".
fn key_of(data: &[u8], profile: SrtpProtectionProfile) -> SrtpKey {
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    let bytes = hasher.finish().to_be_bytes();
    let material = |len| bytes.iter().copied().cycle().take(len).collect::<Vec<u8>>();
    SrtpKey::new(profile, &material(profile.key_len()), &material(profile.salt_len())).unwrap()
}

impl Session {
    /// An RTP packet of the fuzzer's making, of one of a few sources.
    fn rtp(&mut self, input: &mut Input<'_>) {
        let mut packet = vec![0x80 | input.byte() & 0x3F, input.byte()];
        packet.extend(input.array::<6>());
        packet.extend([0, 0, 0, input.byte() % 4]);
        packet.extend(input.chunk());
        self.there(input, packet, |b, p| b.protect_rtp(p, p.len() - TAG), |b, p| b.unprotect_rtp(p));
    }

    fn rtcp(&mut self, input: &mut Input<'_>) {
        let mut packet =
            vec![0x80 | input.byte() & 0x3F, 192 + input.byte() % 32, 0, 1, 0, 0, 0, input.byte() % 4];
        packet.extend(input.chunk());
        self.there(input, packet, |b, p| b.protect_rtcp(p, p.len() - TAG), |b, p| b.unprotect_rtcp(p));
    }

    fn there(&mut self, input: &mut Input<'_>, packet: Vec<u8>, protect: Call, unprotect: Call) {
        let mut wire = packet.clone();
        wire.resize(packet.len() + TAG, 0);
        let len = match protect(&mut self.sender, &mut wire) {
            Ok(len) => len,
            Err(error) => {
                assert!(
                    !matches!(error, SrtpError::Cipher | SrtpError::Authentication | SrtpError::NoKeys),
                    "{error}"
                );
                return;
            }
        };
        wire.truncate(len);
        let mut changed = wire.clone();
        if input.mutate(&mut changed) {
            for backend in [Some(&mut self.receiver), self.oracle.as_mut()].into_iter().flatten() {
                assert!(unprotect(backend, &mut changed.clone()).is_err(), "a changed packet is refused");
            }
        }
        let mut ours = wire.clone();
        match unprotect(&mut self.receiver, &mut ours) {
            Ok(len) => assert_eq!(ours[..len], packet),
            // The same once more, which AES-CM may send.
            Err(SrtpError::Replayed) => {}
            Err(error) => panic!("what was protected is refused: {error}"),
        }
        let mut again = wire.clone();
        assert!(unprotect(&mut self.receiver, &mut again).is_err(), "nothing is taken twice");
        if let Some(oracle) = &mut self.oracle {
            let mut theirs = wire.clone();
            if let Ok(len) = unprotect(oracle, &mut theirs) {
                assert_eq!(theirs[..len], packet);
            }
        }
    }

    /// Bytes that nobody protected.
    fn hostile(&mut self, bytes: &[u8]) {
        let header = RtpHeaderView::parse(bytes).is_ok();
        for backend in [Some(&mut self.receiver), self.oracle.as_mut()].into_iter().flatten() {
            let rtp = backend.unprotect_rtp(&mut bytes.to_vec());
            assert!(rtp.is_err() && (header || rtp != Err(SrtpError::Authentication)));
            assert!(backend.unprotect_rtcp(&mut bytes.to_vec()).is_err());
        }
    }
}
