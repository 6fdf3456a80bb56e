use peerstack_dtls::DtlsRole;
use peerstack_dtls::FakeDtlsTransport;
use peerstack_dtls::SrtpProtectionProfile::*;

use super::*;
use crate::srtp_context::tests::{PROFILES, key};
use crate::test_util::rtp;

fn session(profile: SrtpProtectionProfile) -> SrtpSession {
    let mut session = SrtpSession::new(SrtpBackendKind::InPlace);
    session.set_send(&key(profile), &[]).unwrap();
    session.set_receive(&key(profile), &[]).unwrap();
    session
}

/// D17: a key of the wrong length is refused.
#[test]
fn keys_have_the_profiles_length() {
    for profile in PROFILES {
        let (key, salt) = (vec![0; profile.key_len()], vec![0; profile.salt_len()]);
        assert!(SrtpKey::new(profile, &key, &salt).is_ok());
        assert!(matches!(SrtpKey::new(profile, &key[1..], &salt), Err(SrtpError::KeyLength { .. })));
        assert!(matches!(SrtpKey::new(profile, &key, &salt[1..]), Err(SrtpError::SaltLength { .. })));
    }
    let mut material = FakeDtlsTransport::keying_material(AeadAes128Gcm, 1);
    material.material.pop();
    assert!(SrtpKey::from_dtls(&material, DtlsRole::Client).is_err());
}

/// D11, D17: both ends read the same keys from DTLS, each the other's way round.
#[test]
fn the_clients_key_is_what_the_server_receives_with() {
    for profile in PROFILES {
        let material = FakeDtlsTransport::keying_material(profile, 9);
        let (client_send, client_receive) = SrtpKey::from_dtls(&material, DtlsRole::Client).unwrap();
        let (server_send, server_receive) = SrtpKey::from_dtls(&material, DtlsRole::Server).unwrap();
        assert_eq!((client_send.clone(), client_receive), (server_receive, server_send.clone()));
        assert_ne!(client_send, server_send);
        assert!(
            !format!("{client_send:?}").contains(char::is_numeric)
                || !format!("{client_send:?}").contains('[')
        );
    }
}

/// D17: keys cannot be changed in place, and without keys nothing passes.
#[test]
fn keys_are_installed_once() {
    let mut session = SrtpSession::new(SrtpBackendKind::InPlace);
    assert_eq!(session.protect_rtp(&mut [0; 100], 20), Err(SrtpError::NoKeys));
    assert_eq!(session.unprotect_rtp(&mut rtp(1, 1, b"")), Err(SrtpError::NoKeys));
    assert_eq!((session.rtp_overhead(), session.is_active()), (0, false));
    session.set_send(&key(Aes128CmSha1_32), &[]).unwrap();
    assert!(!session.is_active());
    session.set_receive(&key(Aes128CmSha1_32), &[]).unwrap();
    assert!(session.is_active());
    assert_eq!(session.set_send(&key(Aes128CmSha1_32), &[]), Err(SrtpError::KeysInstalled));
    assert_eq!(session.set_receive(&key(Aes128CmSha1_32), &[]), Err(SrtpError::KeysInstalled));
    assert_eq!((session.rtp_overhead(), session.rtcp_overhead()), (4, 14));
}

/// D19: removing an SSRC's receive stream forgets its replay state.
#[test]
fn a_removed_source_is_new_again() {
    let mut session = session(AeadAes128Gcm);
    let mut sealed = rtp(7, 1, b"payload");
    let len = sealed.len();
    sealed.resize(len + 16, 0);
    session.protect_rtp(&mut sealed, len).unwrap();
    assert!(session.unprotect_rtp(&mut sealed.clone()).is_ok());
    assert_eq!(session.unprotect_rtp(&mut sealed.clone()), Err(SrtpError::Replayed));
    assert!(session.remove_ssrc(7));
    assert!(!session.remove_ssrc(7));
    assert!(session.unprotect_rtp(&mut sealed.clone()).is_ok());
}
