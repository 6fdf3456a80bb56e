//! DTLS 1.3 and 1.2 by the `dimpl` crate, the default engine. Sans-IO, no task of its own; owned by the
//! network task. Answers to libwebrtc's `rtc_base/openssl_stream_adapter.h`.
//!
//! What `dimpl` must not meet is kept out here (docs/decisions): its errors are all fatal except one, a
//! certificate larger than the buffer it is shown in panics, undrained datagrams are fatal, and data before the
//! handshake's end is queued without bound.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::crypto::aws_lc_rs;
use dimpl::{
    Config, Dtls, DtlsCertificate, Error, Output, ProtocolVersion, SrtpProfile, UnexpectedMessageError,
};
use peerstack_base::Counter;
use x509_cert::der::Decode;
use x509_cert::spki::ObjectIdentifier;

use crate::dtls_engine::{
    DtlsEngine, DtlsEngineConfig, DtlsEngineError, DtlsEngineOutput, DtlsSession, DtlsVersion,
    MAX_HANDSHAKE_DATAGRAM,
};
use crate::handshake_reassembler::HandshakeReassembler;
use crate::handshake_record::{
    CERTIFICATE, CERTIFICATE_VERIFY, CLIENT_HELLO, CLIENT_KEY_EXCHANGE, Fragment, HANDSHAKE, Record,
    SERVER_HELLO, cipher_suite_name, fragments, pieces, records, server_hello_cipher_suite,
    shift_plaintext_numbers,
};
use crate::{DtlsRole, SrtpKeyingMaterial, SrtpProtectionProfile};

/// Datagrams with pieces of messages that cannot be read yet, at most; the next is fatal to `dimpl`.
const MAX_QUEUE_RX: usize = 30;
/// Undrained datagrams at most; the next is fatal to `dimpl`.
const MAX_QUEUE_TX: usize = 64;
/// Where `dimpl` writes what it says. It panics on a certificate that does not fit, and a certificate can be
/// no larger than what [`MAX_QUEUE_RX`] datagrams carry.
const POLL_BUFFER: usize = MAX_HANDSHAKE_DATAGRAM * (MAX_QUEUE_RX + 2);
/// The buffer after the handshake; it grows when a larger record comes.
const CONNECTED_POLL_BUFFER: usize = 2048;
/// As long as `dimpl` allows: the transport ends a handshake, by its own clock.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3650 * DAY);
/// Enough to go on until the transport ends the handshake.
const FLIGHT_RETRIES: usize = 30;
/// A timeout farther away than this means none: `dimpl` says ten years.
const NO_TIMEOUT: Duration = Duration::from_secs(9 * 365 * DAY);
const DAY: u64 = 24 * 3600;
/// Retransmissions double their distance up to this. RFC 6347 section 4.2.4.1 would go on to 60 s; with a loss
/// of 30 % each way one handshake in a hundred would then take longer than a person waits. A flight is few
/// datagrams, and ICE has shown that the path exists.
const MAX_BACKOFF: Duration = Duration::from_millis(1600);
/// Records of a datagram that `dimpl` reads; with more it drops the datagram.
const MAX_RECORDS: usize = 8;
/// Records kept by a client that came before the ServerHello.
const MAX_EARLY: usize = 16;
/// A plaintext handshake message in pieces is refused beyond this size, so that it fits a record.
const MAX_MESSAGE: usize = 16_000;
/// No plaintext handshake message of a first handshake has a higher number.
const MAX_MESSAGE_SEQ: u16 = 15;
/// Bytes that headers and the tag of a handshake record take.
const OVERHEAD: usize = 64;
/// Datagrams our own certificate may take: `dimpl` panics on a flight of more than twelve.
const MAX_CERTIFICATE_DATAGRAMS: usize = 4;
/// The largest record of application data (RFC 8446 section 5.1).
const MAX_PLAINTEXT: usize = 1 << 14;

/// One association of `dimpl`.
pub(crate) struct DimplEngine {
    dtls: Dtls,
    role: DtlsRole,
    srtp_profiles: Vec<SrtpProtectionProfile>,
    buffer: Vec<u8>,
    /// When `dimpl` wants to be called, by its clock.
    timeout: Option<Instant>,
    /// When it is called at the latest, by ours: see [`MAX_BACKOFF`].
    latest: Option<Instant>,
    max_backoff: Duration,
    /// How far `dimpl`'s clock is ahead of ours. It knows no bound on its doubling, so its clock is put forward
    /// when one of its waits grows too long.
    ahead: Duration,
    now: Instant,
    connected: bool,
    closed: bool,
    cipher_suite: Option<u16>,
    early: Vec<Vec<u8>>,
    reassembler: HandshakeReassembler,
    /// How often the ClientHello was sent before the version was known.
    hellos_sent: u64,
    /// Something that may begin or answer a handshake has come.
    hello_seen: bool,
    /// One bit a plaintext message that was handed over.
    handed_over: u32,
    /// The highest number of a ClientHello that was handed over, and when we spoke last: a copy is answered with
    /// the whole flight.
    hello_number: Option<u16>,
    spoke: Option<Instant>,
    answer_interval: Duration,
    /// No timer of `dimpl` runs before this: see [`advance`](Self::advance).
    rest_until: Option<Instant>,
    rest: Duration,
    dropped: Counter,
    /// Nobody acknowledged our last flight, which is sent no more.
    unanswered: bool,
}

impl fmt::Debug for DimplEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DimplEngine")
            .field("role", &self.role)
            .field("connected", &self.connected)
            .field("dropped", &self.dropped)
            .finish_non_exhaustive()
    }
}

impl DimplEngine {
    /// Starts an association; a client's ClientHello comes out of the first poll.
    ///
    /// # Errors
    /// [`DtlsEngineError::Configuration`].
    pub(crate) fn new(config: DtlsEngineConfig, now: Instant) -> Result<Self, DtlsEngineError> {
        let profiles: Vec<_> = config.srtp_profiles.iter().copied().filter(|&p| supported(p)).collect();
        if profiles.is_empty() && !config.srtp_profiles.is_empty() {
            return Err(DtlsEngineError::Configuration(
                "dimpl speaks no SRTP profile of AES_CM_128_HMAC_SHA1_32".into(),
            ));
        }
        let size = config.certificate.der().len();
        if size > MAX_CERTIFICATE_DATAGRAMS * config.mtu.saturating_sub(OVERHEAD) {
            return Err(DtlsEngineError::Configuration(format!(
                "our certificate of {size} bytes is too large for datagrams of {} bytes",
                config.mtu
            )));
        }
        let mut builder = Config::builder()
            .with_crypto_provider(aws_lc_rs::default_provider())
            .mtu(config.mtu)
            .max_queue_rx(MAX_QUEUE_RX)
            .max_queue_tx(MAX_QUEUE_TX)
            // ICE has validated the pair already; the cookie would cost a round trip.
            .use_server_cookie(false)
            .require_client_certificate(true)
            .flight_start_rto(config.retransmit_after)
            .flight_retries(FLIGHT_RETRIES)
            .handshake_timeout(HANDSHAKE_TIMEOUT);
        if let Some(seed) = config.seed {
            builder = builder.dangerously_set_rng_seed(seed);
        }
        let built = builder.build().map_err(|error| DtlsEngineError::Configuration(error.to_string()))?;
        let (built, certificate) = (
            Arc::new(built),
            DtlsCertificate {
                certificate: config.certificate.der().to_vec(),
                private_key: config.certificate.private_key().to_vec(),
            },
        );
        let mut dtls = match (config.min_version, config.max_version) {
            (DtlsVersion::Dtls12, DtlsVersion::Dtls13) => Dtls::new_auto(built, certificate, now),
            (_, DtlsVersion::Dtls12) => Dtls::new_12(built, certificate, now),
            (DtlsVersion::Dtls13, _) => Dtls::new_13(built, certificate, now),
        };
        dtls.set_active(config.role == DtlsRole::Client);
        let mut engine = Self {
            dtls,
            role: config.role,
            srtp_profiles: profiles,
            buffer: vec![0; POLL_BUFFER],
            timeout: None,
            latest: None,
            max_backoff: MAX_BACKOFF.max(config.retransmit_after),
            ahead: Duration::ZERO,
            now,
            connected: false,
            closed: false,
            cipher_suite: None,
            early: Vec::new(),
            reassembler: HandshakeReassembler::new(MAX_MESSAGE),
            hellos_sent: 0,
            hello_seen: false,
            handed_over: 0,
            hello_number: None,
            spoke: None,
            answer_interval: config.retransmit_after / 2,
            rest_until: None,
            rest: config.retransmit_after / 4,
            dropped: Counter::default(),
            unanswered: false,
        };
        engine.advance(now)?;
        Ok(engine)
    }

    /// Lets `dimpl` meet whole plaintext handshake messages only, of which it can have use: as a DTLS 1.2 server
    /// it never finishes a ClientHello that was cut elsewhere when it was sent again (which is what Firefox
    /// does), and thirty-one pieces it cannot use yet are fatal.
    ///
    /// `dimpl` drops a datagram whole that begins with a message it has read already, so that the one it waits for
    /// behind it never comes, however often it is sent again. Sealed messages of DTLS 1.3 go one by one
    /// therefore, and a plaintext message that is new does not follow one that is not. Otherwise they stay
    /// together, because what is forged can only take the place of a datagram's first message.
    fn feed_handshake(&mut self, datagram: &[u8]) -> Result<(), DtlsEngineError> {
        let (before, mut old) = (self.handed_over, false);
        let (mut whole, mut count) = (Vec::with_capacity(datagram.len()), 0);
        for piece in pieces(datagram) {
            let Some(record) = records(piece).next() else {
                if piece.first().is_some_and(|first| first >> 5 == 1) {
                    self.feed_all(&mut whole)?;
                }
                // Noise makes `dimpl` drop what it is told with it, which may be as wrong.
                whole.extend_from_slice(piece);
                self.feed_all(&mut whole)?;
                continue;
            };
            if record.content_type == HANDSHAKE && record.epoch == 0 {
                let is_old = fragments(record.payload).all(|fragment| before & message_bit(&fragment) != 0);
                if old && !is_old {
                    self.feed_all(&mut whole)?;
                }
                old = is_old;
                self.admit_plaintext(&record, &mut whole);
            } else {
                whole.extend_from_slice(record.bytes);
            }
            count += 1;
            if count % MAX_RECORDS == 0 {
                self.feed_all(&mut whole)?;
            }
        }
        self.feed_all(&mut whole)
    }

    fn feed_all(&mut self, whole: &mut Vec<u8>) -> Result<(), DtlsEngineError> {
        if whole.is_empty() { Ok(()) } else { self.feed(&std::mem::take(whole)) }
    }

    fn admit_plaintext(&mut self, record: &Record<'_>, whole: &mut Vec<u8>) {
        let fit = |fragment: Fragment<'_>| self.may_come(&fragment) && !self.answered_lately(&fragment);
        if !fragments(record.payload).all(fit) {
            self.dropped.add(record.bytes.len());
            return;
        }
        self.hello_seen = true;
        if fragments(record.payload).all(|fragment| fragment.body.len() == fragment.length) {
            fragments(record.payload).for_each(|fragment| self.note(&fragment));
            whole.extend_from_slice(record.bytes);
            return;
        }
        for fragment in fragments(record.payload) {
            if let Some(message) = self.reassembler.push(record, &fragment) {
                self.note(&fragment);
                whole.extend_from_slice(&message);
            }
        }
    }

    /// Until the server has answered `dimpl` sends its ClientHello again under the same record number, which a
    /// server with replay protection takes for a copy (RFC 6347 section 4.1.2.6): if it was its stateless
    /// HelloVerifyRequest that was lost, it would never answer again.
    fn renumber(&mut self, length: usize) {
        if self.connected || self.role == DtlsRole::Server {
            return;
        }
        if self.dtls.protocol_version().is_none() {
            self.hellos_sent += 1;
        }
        if let Some(packet) = self.buffer.get_mut(..length) {
            shift_plaintext_numbers(packet, self.hellos_sent.saturating_sub(1));
        }
    }

    /// Whether a plaintext message may come from a peer now. What may not would stay in `dimpl`'s queue, and be
    /// fatal when the handshake is done.
    fn may_come(&self, fragment: &Fragment<'_>) -> bool {
        let kind = fragment.message_type;
        let version = self.dtls.protocol_version();
        let allowed = match (self.role, version) {
            (DtlsRole::Server, Some(ProtocolVersion::DTLS1_2)) if self.hello_seen => {
                [CLIENT_HELLO, CERTIFICATE, CLIENT_KEY_EXCHANGE, CERTIFICATE_VERIFY].contains(&kind)
            }
            (DtlsRole::Server, _) => kind == CLIENT_HELLO,
            (DtlsRole::Client, Some(ProtocolVersion::DTLS1_3)) => kind == SERVER_HELLO,
            (DtlsRole::Client, _) => ![CLIENT_HELLO, CLIENT_KEY_EXCHANGE, CERTIFICATE_VERIFY].contains(&kind),
        };
        allowed && fragment.message_seq <= MAX_MESSAGE_SEQ
    }

    /// A message was handed over.
    fn note(&mut self, fragment: &Fragment<'_>) {
        self.handed_over |= message_bit(fragment);
        if fragment.message_type == CLIENT_HELLO {
            self.hello_number = self.hello_number.max(Some(fragment.message_seq));
        }
    }

    /// Whether a server has just answered this ClientHello: as a DTLS 1.3 server `dimpl` answers each copy with
    /// its whole flight, and ends when it has done so [`FLIGHT_RETRIES`] times, which anybody can bring about.
    fn answered_lately(&self, fragment: &Fragment<'_>) -> bool {
        self.role == DtlsRole::Server
            && fragment.message_type == CLIENT_HELLO
            && self.hello_number.is_some_and(|number| fragment.message_seq <= number)
            && self.spoke.is_some_and(|at| self.now < at + self.answer_interval)
    }

    /// Tells `dimpl` the time, and so runs its timers, but not one right behind another: while a message is
    /// missing between others a DTLS 1.3 association wants to acknowledge what it has at once, again and again
    /// without time passing, and with each datagram that comes.
    fn advance(&mut self, now: Instant) -> Result<(), DtlsEngineError> {
        // dimpl's clock must not run backwards.
        self.now = self.now.max(now);
        if self.rest_until.is_some_and(|until| self.now < until) {
            return Ok(());
        }
        let mut clock = self.now + self.ahead;
        if let (Some(timeout), Some(latest)) = (self.timeout, self.latest)
            && latest <= self.now
            && timeout > clock
        {
            self.ahead += timeout - clock;
            clock = timeout;
        }
        let due = self.timeout.is_some_and(|timeout| timeout <= clock);
        self.rest_until = due.then_some(self.now + self.rest);
        if due && !self.connected {
            // A flight's own distance doubles as well, and is four times as long to begin with.
            self.rest = (self.rest * 2).min(self.max_backoff / 4);
        }
        match self.dtls.handle_timeout(clock) {
            // The last flight of a handshake that is done here: whether its peer is alive, consent tells
            // (RFC 7675). dimpl says so again and again, and is intact.
            Err(Error::Timeout(_)) if self.connected => self.unanswered = true,
            Err(error) => return Err(self.fatal(&error)),
            Ok(()) => self.unanswered = false,
        }
        Ok(())
    }

    fn feed(&mut self, datagram: &[u8]) -> Result<(), DtlsEngineError> {
        match self.dtls.handle_packet(datagram) {
            Ok(()) => {}
            // Says no more than that this is not the ServerHello; the association is intact.
            Err(Error::UnexpectedMessage(UnexpectedMessageError::UnrecognizedAutoServerResponse)) => {
                self.dropped.add(datagram.len());
                let handshake = datagram.first().is_some_and(|first| *first == HANDSHAKE || first >> 5 == 1);
                let new = !self.early.iter().any(|known| known == datagram);
                if handshake && new && self.early.len() < MAX_EARLY {
                    self.early.push(datagram.to_vec());
                }
                return Ok(());
            }
            Err(error) => return Err(self.why(&error)),
        }
        if self.role == DtlsRole::Client
            && !self.connected
            && let Some(suite) = server_hello_cipher_suite(datagram)
        {
            self.cipher_suite = Some(suite);
        }
        Ok(())
    }

    /// Tells a certificate that cannot be used from other reasons: both may come in one datagram.
    fn why(&mut self, error: &Error) -> DtlsEngineError {
        let mut outputs = if self.connected { 0 } else { MAX_QUEUE_TX };
        while outputs > 0 {
            outputs -= 1;
            match self.dtls.poll_output(&mut self.buffer) {
                Output::PeerCert(der) => {
                    if let Err(error) = check_key(der) {
                        self.closed = true;
                        return error;
                    }
                }
                Output::Timeout(_) | Output::BufferTooSmall { .. } => break,
                _ => {}
            }
        }
        self.fatal(error)
    }

    fn fatal(&mut self, error: &Error) -> DtlsEngineError {
        self.closed = true;
        match error {
            // Only ever that its retries are used up, and a peer's copies use them up as well as loss does: the
            // transport knows whether there is time to begin anew.
            Error::Timeout(_) => DtlsEngineError::Protocol("the peer does not answer".into()),
            Error::ConnectionClosed => DtlsEngineError::Closed,
            other => DtlsEngineError::Protocol(other.to_string()),
        }
    }

    fn session(&self) -> DtlsSession {
        let version = match self.dtls.protocol_version() {
            Some(version) if version == ProtocolVersion::DTLS1_3 => DtlsVersion::Dtls13,
            _ => DtlsVersion::Dtls12,
        };
        // A suite of the other version would be a forged ServerHello's.
        let of_version = |suite: &u16| (*suite >> 8 == 0x13) == (version == DtlsVersion::Dtls13);
        let cipher_suite = self.cipher_suite.filter(of_version).and_then(cipher_suite_name);
        DtlsSession { version, cipher_suite }
    }
}

impl DtlsEngine for DimplEngine {
    fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) -> Result<(), DtlsEngineError> {
        if self.closed {
            return Err(DtlsEngineError::Closed);
        }
        if !self.connected && datagram.len() > MAX_HANDSHAKE_DATAGRAM {
            self.dropped.add(datagram.len());
            return Ok(());
        }
        self.advance(now)?;
        if self.connected {
            // One by one: dimpl drops a datagram whole that has noise behind its records, and marks them read.
            return pieces(datagram).try_for_each(|piece| self.feed(piece));
        }
        self.feed_handshake(datagram)?;
        // The ServerHello has come: what came before it can be read now.
        if !self.early.is_empty() && self.dtls.protocol_version().is_some() {
            for datagram in std::mem::take(&mut self.early) {
                self.feed_handshake(&datagram)?;
            }
        }
        Ok(())
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsEngineError> {
        if self.closed {
            return Err(DtlsEngineError::Closed);
        }
        self.advance(now)
    }

    fn poll(&mut self) -> Result<DtlsEngineOutput<'_>, DtlsEngineError> {
        loop {
            // Asked twice because what is returned borrows the buffer.
            let needed = match self.dtls.poll_output(&mut self.buffer) {
                Output::BufferTooSmall { needed } => needed,
                Output::Timeout(at) => {
                    let clock = self.now + self.ahead;
                    let given_up = self.unanswered && at <= clock;
                    let timeout = (at < clock + NO_TIMEOUT && !given_up).then_some(at);
                    if timeout != self.timeout {
                        self.timeout = timeout;
                        self.latest = timeout.map(|_| self.now + self.max_backoff);
                    }
                    return Ok(DtlsEngineOutput::Idle);
                }
                Output::Packet(packet) => {
                    let length = packet.len();
                    self.spoke = Some(self.now);
                    self.renumber(length);
                    let packet = self.buffer.get(..length).unwrap_or_default();
                    if self.role == DtlsRole::Server
                        && !self.connected
                        && let Some(suite) = server_hello_cipher_suite(packet)
                    {
                        self.cipher_suite = Some(suite);
                    }
                    return Ok(DtlsEngineOutput::Datagram(packet));
                }
                Output::PeerCert(der) => {
                    let length = der.len();
                    let der = self.buffer.get(..length).unwrap_or_default();
                    if let Err(error) = check_key(der) {
                        self.closed = true;
                        return Err(error);
                    }
                    return Ok(DtlsEngineOutput::PeerCertificate(der));
                }
                Output::Connected => {
                    self.connected = true;
                    self.buffer = vec![0; CONNECTED_POLL_BUFFER];
                    return Ok(DtlsEngineOutput::Connected(self.session()));
                }
                Output::KeyingMaterial(material, profile) => {
                    let profile = profile_from(profile);
                    if self.srtp_profiles.is_empty() {
                        // dimpl offers its profiles whether or not they are wanted.
                        continue;
                    }
                    if !profile.is_some_and(|profile| self.srtp_profiles.contains(&profile)) {
                        self.closed = true;
                        let name = profile.map_or("one that is unknown", SrtpProtectionProfile::as_str);
                        return Err(DtlsEngineError::SrtpProfile(name));
                    }
                    if let Some(profile) = profile {
                        let material = material.to_vec();
                        let material = SrtpKeyingMaterial { profile, material };
                        return Ok(DtlsEngineOutput::KeyingMaterial(material));
                    }
                    continue;
                }
                Output::ApplicationData(data) => {
                    let length = data.len();
                    let data = self.buffer.get(..length).unwrap_or_default();
                    return Ok(DtlsEngineOutput::ApplicationData(data));
                }
                Output::CloseNotify => return Ok(DtlsEngineOutput::Closed),
                _ => continue,
            };
            self.buffer.resize(needed, 0);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.closed {
            return None;
        }
        let timeout = self.timeout?.checked_sub(self.ahead)?;
        let timeout = self.latest.map_or(timeout, |latest| latest.min(timeout));
        Some(self.rest_until.map_or(timeout, |until| until.max(timeout)))
    }

    fn send(&mut self, now: Instant, data: &[u8]) -> Result<(), DtlsEngineError> {
        if self.closed {
            return Err(DtlsEngineError::Closed);
        }
        if !self.connected {
            // dimpl would keep it, without bound.
            return Err(DtlsEngineError::Send("the handshake is not done".into()));
        }
        if data.len() > MAX_PLAINTEXT {
            return Err(DtlsEngineError::Send(format!("{} bytes are more than a record holds", data.len())));
        }
        self.advance(now)?;
        self.dtls.send_application_data(data).map(|_| ()).map_err(|error| self.fatal(&error))
    }

    fn close(&mut self, now: Instant) {
        if !self.closed {
            self.now = self.now.max(now);
            // An error only says that there is nobody left to tell.
            let _ = self.dtls.close();
        }
    }
}

fn message_bit(fragment: &Fragment<'_>) -> u32 {
    1_u32.checked_shl(fragment.message_seq.into()).unwrap_or(0)
}

/// `dimpl` verifies ECDSA signatures alone, and does not say that it is the key it cannot use.
fn check_key(der: &[u8]) -> Result<(), DtlsEngineError> {
    const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
    let certificate = x509_cert::Certificate::from_der(der)
        .map_err(|error| DtlsEngineError::Certificate(error.to_string()))?;
    let algorithm = certificate.tbs_certificate().subject_public_key_info().algorithm.oid;
    if algorithm == EC_PUBLIC_KEY {
        return Ok(());
    }
    Err(DtlsEngineError::Certificate(format!("its key is of kind {algorithm}, not ECDSA")))
}

fn supported(profile: SrtpProtectionProfile) -> bool {
    profile != SrtpProtectionProfile::Aes128CmSha1_32
}

fn profile_from(profile: SrtpProfile) -> Option<SrtpProtectionProfile> {
    match profile {
        SrtpProfile::AES128_CM_SHA1_80 => Some(SrtpProtectionProfile::Aes128CmSha1_80),
        SrtpProfile::AEAD_AES_128_GCM => Some(SrtpProtectionProfile::AeadAes128Gcm),
        SrtpProfile::AEAD_AES_256_GCM => Some(SrtpProtectionProfile::AeadAes256Gcm),
        _ => None,
    }
}
