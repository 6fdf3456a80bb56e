//! DTLS 1.2 by the `webrtc-dtls` crate, behind a guard and a bridge (Cargo feature `webrtc-dtls`). The engine is
//! the network task's; the association runs in tasks of its own that end with it.
//!
//! It is the second engine: it exists for peers with an RSA certificate, for SRTP with short tags, and as the
//! other opinion in tests. What it costs: tasks, 28 allocations a packet, and a close that takes a moment.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use dtls::cipher_suite::CipherSuiteId;
use dtls::config::{ClientAuthType, Config, ExtendedMasterSecretType};
use dtls::conn::DTLSConn;
use dtls::extension::extension_use_srtp::SrtpProtectionProfile as Profile;
use rustls::pki_types::CertificateDer;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use webrtc_util::KeyingMaterialExporter;

use crate::dtls_engine::{
    DtlsEngine, DtlsEngineConfig, DtlsEngineError, DtlsEngineOutput, DtlsSession, DtlsVersion,
};
use crate::handshake_record::{cipher_suite_name, server_hello_cipher_suite};
use crate::stream_interface_channel::{FromAssociation, QUEUE, StreamInterfaceChannel};
use crate::webrtc_dtls_guard::WebrtcDtlsGuard;
use crate::{DtlsFingerprint, DtlsRole, KeyAlgorithm, SrtpKeyingMaterial, SrtpProtectionProfile};

/// The exporter's label (RFC 5764 section 4.2).
const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";
/// The largest record of application data.
const MAX_PLAINTEXT: usize = 1 << 14;

#[derive(Debug)]
enum Command {
    Send(Vec<u8>),
    Close,
}

/// One association of `webrtc-dtls`.
pub(crate) struct WebrtcDtlsEngine {
    role: DtlsRole,
    guard: WebrtcDtlsGuard,
    inbound: mpsc::Sender<Vec<u8>>,
    commands: mpsc::Sender<Command>,
    outbound: mpsc::Receiver<FromAssociation>,
    waiting: VecDeque<FromAssociation>,
    task: JoinHandle<()>,
    /// What [`DtlsEngine::poll`] lent last.
    current: Vec<u8>,
    /// Told after the certificate.
    keys: Option<SrtpKeyingMaterial>,
    told_certificate: bool,
    connected: bool,
    closed: bool,
    /// Asked to close, and close_notify has not come out yet.
    closing: bool,
    /// The peer's certificate was refused during the handshake.
    refused: Arc<AtomicBool>,
    cipher_suite: Option<u16>,
}

impl fmt::Debug for WebrtcDtlsEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebrtcDtlsEngine")
            .field("role", &self.role)
            .field("connected", &self.connected)
            .field("dropped", &self.guard.dropped)
            .finish_non_exhaustive()
    }
}

impl Drop for WebrtcDtlsEngine {
    fn drop(&mut self) {
        // With this task goes the association, and with the association the crate's own two tasks. Asked to
        // close it ends by itself.
        if !self.closed {
            self.task.abort();
        }
    }
}

impl WebrtcDtlsEngine {
    /// Starts an association in the runtime this is called in.
    ///
    /// # Errors
    /// [`DtlsEngineError::Configuration`].
    pub(crate) fn new(config: DtlsEngineConfig, _now: Instant) -> Result<Self, DtlsEngineError> {
        let runtime = Handle::try_current()
            .map_err(|_| DtlsEngineError::Configuration("webrtc-dtls needs a tokio runtime".into()))?;
        let role = config.role;
        let (inbound, to_association) = mpsc::channel(QUEUE);
        let (from_association, outbound) = mpsc::channel(QUEUE);
        let (commands, to_driver) = mpsc::channel(QUEUE);
        let channel = StreamInterfaceChannel::new(to_association, from_association.clone());
        let wants_keys = !config.srtp_profiles.is_empty();
        let association = Association { commands: to_driver, events: from_association, wants_keys };
        let refused = Arc::new(AtomicBool::new(false));
        let configuration = configuration(&config, &refused)?;
        #[expect(
            clippy::disallowed_methods,
            reason = "the association's task, aborted when the engine is dropped"
        )]
        let task = runtime.spawn(association.run(channel, configuration, role == DtlsRole::Client));
        Ok(Self {
            role,
            guard: WebrtcDtlsGuard::new(role, config.retransmit_after),
            inbound,
            commands,
            outbound,
            waiting: VecDeque::new(),
            task,
            current: Vec::new(),
            keys: None,
            told_certificate: false,
            connected: false,
            closed: false,
            closing: false,
            refused,
            cipher_suite: None,
        })
    }

    fn next(&mut self) -> Option<FromAssociation> {
        self.waiting.pop_front().or_else(|| self.outbound.try_recv().ok())
    }
}

impl DtlsEngine for WebrtcDtlsEngine {
    fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) -> Result<(), DtlsEngineError> {
        if let Some(flight) = self.guard.answer(now, datagram) {
            self.waiting.push_back(FromAssociation::Datagram(flight));
        }
        if let Some(admitted) = self.guard.admit(datagram) {
            if self.role == DtlsRole::Client && !self.connected {
                self.cipher_suite = server_hello_cipher_suite(&admitted).or(self.cipher_suite);
            }
            // Lost if the association is busy, as on a network.
            let _ = self.inbound.try_send(admitted);
        }
        Ok(())
    }

    fn handle_timeout(&mut self, _now: Instant) -> Result<(), DtlsEngineError> {
        Ok(())
    }

    fn poll(&mut self) -> Result<DtlsEngineOutput<'_>, DtlsEngineError> {
        if self.told_certificate && !self.connected {
            if let Some(keys) = self.keys.take() {
                return Ok(DtlsEngineOutput::KeyingMaterial(keys));
            }
            self.connected = true;
            let cipher_suite = self.cipher_suite.and_then(cipher_suite_name);
            let session = DtlsSession { version: DtlsVersion::Dtls12, cipher_suite };
            return Ok(DtlsEngineOutput::Connected(session));
        }
        match self.next() {
            None if self.task.is_finished() && self.outbound.is_empty() && !self.closed => {
                self.closed = true;
                // Only a panic in the association ends its task without a word.
                Err(DtlsEngineError::Protocol("the association of webrtc-dtls ended unexpectedly".into()))
            }
            None => Ok(DtlsEngineOutput::Idle),
            Some(FromAssociation::Datagram(datagram)) => {
                self.guard.observe_outgoing(&datagram);
                if self.role == DtlsRole::Server && !self.connected {
                    self.cipher_suite = server_hello_cipher_suite(&datagram).or(self.cipher_suite);
                }
                self.current = datagram;
                Ok(DtlsEngineOutput::Datagram(&self.current))
            }
            Some(FromAssociation::Connected { certificate, keys }) => {
                self.guard.complete();
                self.keys = keys;
                self.told_certificate = true;
                self.current = certificate;
                Ok(DtlsEngineOutput::PeerCertificate(&self.current))
            }
            Some(FromAssociation::Data(data)) => {
                self.current = data;
                Ok(DtlsEngineOutput::ApplicationData(&self.current))
            }
            Some(FromAssociation::Closed) => {
                self.closed = true;
                self.closing = false;
                Ok(DtlsEngineOutput::Closed)
            }
            Some(FromAssociation::Failed(_)) if self.refused.load(Ordering::Acquire) => {
                self.closed = true;
                Err(DtlsEngineError::Fingerprint)
            }
            Some(FromAssociation::Failed(reason)) => {
                self.closed = true;
                Err(DtlsEngineError::Protocol(reason))
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn send(&mut self, _now: Instant, data: &[u8]) -> Result<(), DtlsEngineError> {
        if !self.connected || self.closed {
            return Err(DtlsEngineError::Send("there is no association".into()));
        }
        if data.len() > MAX_PLAINTEXT {
            return Err(DtlsEngineError::Send(format!("{} bytes are more than a record holds", data.len())));
        }
        match self.commands.try_send(Command::Send(data.to_vec())) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(DtlsEngineError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(DtlsEngineError::Closed),
        }
    }

    fn close(&mut self, _now: Instant) {
        if self.connected && self.commands.try_send(Command::Close).is_ok() {
            self.closed = true;
            self.closing = true;
        }
    }

    fn closing(&self) -> bool {
        let over = self.task.is_finished() && self.outbound.is_empty() && self.waiting.is_empty();
        self.closing && !over
    }

    fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.waiting.is_empty() {
            return Poll::Ready(());
        }
        match self.outbound.poll_recv(cx) {
            Poll::Ready(Some(message)) => {
                self.waiting.push_back(message);
                Poll::Ready(())
            }
            // The association is gone: told once, by the next poll.
            Poll::Ready(None) if !self.closed => Poll::Ready(()),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// What runs in the association's task.
struct Association {
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<FromAssociation>,
    wants_keys: bool,
}

impl Association {
    async fn run(mut self, channel: Arc<StreamInterfaceChannel>, config: Config, is_client: bool) {
        let connection = match DTLSConn::new(channel, config, is_client, None).await {
            Ok(connection) => connection,
            Err(error) => {
                let _ = self.events.send(FromAssociation::Failed(error.to_string())).await;
                return;
            }
        };
        match connected(&connection, self.wants_keys).await {
            Ok(event) => {
                let _ = self.events.send(event).await;
            }
            Err(reason) => {
                let _ = self.events.send(FromAssociation::Failed(reason)).await;
                return;
            }
        }
        self.drive(&connection).await;
        let _ = self.events.send(FromAssociation::Closed).await;
    }

    async fn drive(&mut self, connection: &DTLSConn) {
        let mut buffer = vec![0; MAX_PLAINTEXT];
        loop {
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(Command::Send(data)) => {
                        let _ = connection.write(&data, None).await;
                    }
                    Some(Command::Close) => {
                        let _ = connection.close().await;
                        return;
                    }
                    None => return,
                },
                read = connection.read(&mut buffer, None) => match read {
                    Ok(length) => {
                        let data = buffer.get(..length).unwrap_or_default().to_vec();
                        let _ = self.events.send(FromAssociation::Data(data)).await;
                    }
                    // close_notify or a fatal alert, under the peer's keys.
                    Err(_) => return,
                },
            }
        }
    }
}

async fn connected(connection: &DTLSConn, wants_keys: bool) -> Result<FromAssociation, String> {
    let state = connection.connection_state().await;
    let certificate = state.peer_certificates.first().cloned().ok_or("the peer showed no certificate")?;
    let profile = match connection.selected_srtpprotection_profile() {
        Profile::Srtp_Aes128_Cm_Hmac_Sha1_80 => Some(SrtpProtectionProfile::Aes128CmSha1_80),
        Profile::Srtp_Aes128_Cm_Hmac_Sha1_32 => Some(SrtpProtectionProfile::Aes128CmSha1_32),
        Profile::Srtp_Aead_Aes_128_Gcm => Some(SrtpProtectionProfile::AeadAes128Gcm),
        Profile::Srtp_Aead_Aes_256_Gcm => Some(SrtpProtectionProfile::AeadAes256Gcm),
        Profile::Unsupported => None,
    };
    let keys = match profile.filter(|_| wants_keys) {
        None => None,
        Some(profile) => {
            let length = 2 * (profile.key_len() + profile.salt_len());
            let material = state
                .export_keying_material(EXPORTER_LABEL, &[], length)
                .await
                .map_err(|error| error.to_string())?;
            Some(SrtpKeyingMaterial { profile, material })
        }
    };
    Ok(FromAssociation::Connected { certificate, keys })
}

fn configuration(config: &DtlsEngineConfig, refused: &Arc<AtomicBool>) -> Result<Config, DtlsEngineError> {
    if config.min_version > DtlsVersion::Dtls12 {
        return Err(DtlsEngineError::Configuration("webrtc-dtls speaks DTLS 1.2 alone".into()));
    }
    if config.certificate.algorithm() != KeyAlgorithm::EcdsaP256 {
        return Err(DtlsEngineError::Configuration("webrtc-dtls needs an ECDSA P-256 certificate".into()));
    }
    // What it never asks, it makes; see Cargo.toml.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    // Its own reader of PEM spells the tag with an underscore.
    let text = config.certificate.to_pem().replace("PRIVATE KEY", "PRIVATE_KEY");
    let certificate = dtls::crypto::Certificate::from_pem(&text)
        .map_err(|error| DtlsEngineError::Configuration(error.to_string()))?;
    let mut profiles: Vec<_> = config.srtp_profiles.iter().map(|&profile| to_profile(profile)).collect();
    if profiles.is_empty() {
        // It refuses a client that offers SRTP when it has no profile itself; the keys are not asked for.
        profiles = vec![Profile::Srtp_Aead_Aes_128_Gcm, Profile::Srtp_Aes128_Cm_Hmac_Sha1_80];
    }
    Ok(Config {
        certificates: vec![certificate],
        // AES-GCM alone: what it does on short records of other suites was not looked at.
        cipher_suites: vec![
            CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
            CipherSuiteId::Tls_Ecdhe_Rsa_With_Aes_128_Gcm_Sha256,
        ],
        srtp_protection_profiles: profiles,
        client_auth: ClientAuthType::RequireAnyClientCert,
        extended_master_secret: ExtendedMasterSecretType::Require,
        flight_interval: config.retransmit_after,
        insecure_skip_verify: true,
        verify_peer_certificate: Some(Arc::new(verify(config.fingerprints.clone(), Arc::clone(refused)))),
        server_name: "localhost".into(),
        mtu: config.mtu,
        ..Config::default()
    })
}

/// Lets the crate refuse a certificate with an alert before the handshake is done; the transport would refuse it
/// after that.
fn verify(
    fingerprints: Vec<DtlsFingerprint>,
    refused: Arc<AtomicBool>,
) -> impl Fn(&[Vec<u8>], &[CertificateDer<'static>]) -> Result<(), dtls::Error> {
    move |certificates, _| {
        let known = certificates.first().is_some_and(|der| fingerprints.iter().any(|one| one.matches(der)));
        if known {
            return Ok(());
        }
        refused.store(true, Ordering::Release);
        Err(dtls::Error::ErrInvalidCertificate)
    }
}

fn to_profile(profile: SrtpProtectionProfile) -> Profile {
    match profile {
        SrtpProtectionProfile::Aes128CmSha1_80 => Profile::Srtp_Aes128_Cm_Hmac_Sha1_80,
        SrtpProtectionProfile::Aes128CmSha1_32 => Profile::Srtp_Aes128_Cm_Hmac_Sha1_32,
        SrtpProtectionProfile::AeadAes128Gcm => Profile::Srtp_Aead_Aes_128_Gcm,
        SrtpProtectionProfile::AeadAes256Gcm => Profile::Srtp_Aead_Aes_256_Gcm,
    }
}
