// What the browser and the server say of the connection, in one form.

import { milliseconds } from './plot.js';

const VERSIONS = { FEFF: 'DTLS 1.0', FEFD: 'DTLS 1.2', FEFC: 'DTLS 1.3' };

// Reads RTCPeerConnection.getStats() into one flat object.
export async function readBrowser(pc) {
  const all = [...(await pc.getStats()).values()];
  const byId = new Map(all.map((entry) => [entry.id, entry]));
  const of = (type, kind) => all.find((entry) => entry.type === type && (!kind || entry.kind === kind));
  const transport = of('transport') ?? {};
  const pair = byId.get(transport.selectedCandidatePairId)
    ?? all.find((entry) => entry.type === 'candidate-pair' && (entry.selected || (entry.nominated && entry.state === 'succeeded')))
    ?? {};
  const videoIn = of('inbound-rtp', 'video') ?? {};
  const videoOut = of('outbound-rtp', 'video') ?? {};
  const audioIn = of('inbound-rtp', 'audio') ?? {};
  const audioOut = of('outbound-rtp', 'audio') ?? {};
  const channels = all.filter((entry) => entry.type === 'data-channel');
  const sum = (name) => channels.reduce((total, entry) => total + (entry[name] ?? 0), 0);
  return {
    time: performance.now(),
    connection: pc.connectionState,
    ice: pc.iceConnectionState,
    dtlsState: transport.dtlsState ?? pc.sctp?.transport?.state,
    tlsVersion: VERSIONS[String(transport.tlsVersion ?? '').toUpperCase()] ?? transport.tlsVersion,
    dtlsCipher: transport.dtlsCipher,
    srtpCipher: transport.srtpCipher,
    dtlsRole: transport.dtlsRole,
    iceRole: transport.iceRole ?? pc.sctp?.transport?.iceTransport?.role,
    local: candidate(byId.get(pair.localCandidateId)),
    remote: candidate(byId.get(pair.remoteCandidateId)),
    roundTrip: pair.currentRoundTripTime === undefined ? undefined : pair.currentRoundTripTime * 1000,
    bytesSent: transport.bytesSent ?? pair.bytesSent,
    bytesReceived: transport.bytesReceived ?? pair.bytesReceived,
    packetsSent: transport.packetsSent ?? pair.packetsSent,
    packetsReceived: transport.packetsReceived ?? pair.packetsReceived,
    mediaSent: (videoOut.bytesSent ?? 0) + (audioOut.bytesSent ?? 0),
    mediaReceived: (videoIn.bytesReceived ?? 0) + (audioIn.bytesReceived ?? 0),
    videoCodec: byId.get(videoOut.codecId ?? videoIn.codecId)?.mimeType,
    audioCodec: byId.get(audioOut.codecId ?? audioIn.codecId)?.mimeType,
    framesEncoded: videoOut.framesEncoded,
    framesDecoded: videoIn.framesDecoded,
    levelSent: (byId.get(audioOut.mediaSourceId) ?? of('media-source', 'audio'))?.audioLevel,
    levelBack: audioIn.audioLevel,
    videoOut, videoIn, audioIn, audioOut,
    messagesSent: sum('messagesSent'),
    messagesReceived: sum('messagesReceived'),
    dataSent: sum('bytesSent'),
    dataReceived: sum('bytesReceived'),
  };
}

function candidate(entry) {
  if (!entry) return undefined;
  return { type: entry.candidateType, address: entry.address ?? entry.ip, port: entry.port, protocol: entry.protocol };
}

const dash = '–';
const number = new Intl.NumberFormat('en');

export function bytes(value) {
  if (value === undefined || value === null) return dash;
  if (value < 10_000) return `${number.format(value)} B`;
  if (value < 10_000_000) return `${number.format(Math.round(value / 1000))} kB`;
  return `${(value / 1e6).toFixed(1)} MB`;
}

function address(entry) {
  if (!entry) return dash;
  // A browser that gave the page no camera keeps its addresses to itself, some behind a name of mDNS.
  const known = entry.address && !entry.address.endsWith('.local');
  const host = known ? (entry.address.includes(':') ? `[${entry.address}]` : entry.address) : 'hidden';
  return `${entry.type} ${host}\u200b:${entry.port}`;
}

// May break behind each underscore.
const broken = (value) => show(value).replaceAll('_', '_\u200b');
const show = (value) => (value === undefined || value === null || value === '' ? dash : String(value));
const trip = (value) => (value === undefined || value === null ? dash : milliseconds(value).join(' '));
const level = (value) => (value === undefined || value === null ? undefined : `${Math.round(value * 100)} %`);
const amount = (value) => (value === undefined || value === null ? dash : number.format(value));
const short = (mime) => mime?.split('/')[1];
const good = (state) => (state === 'connected' || state === 'completed' ? 'good' : state === 'failed' ? 'bad' : '');

// The rows of the table: [name, browser, server, class of browser, class of server]. Browsers measure the sound that comes
// back only while it is played.
export function facts(browser, server) {
  const b = browser ?? {};
  const s = server ?? {};
  const st = s.transport ?? {};
  const echo = s.echo ?? {};
  const videoLost = b.videoIn?.packetsLost;
  return [
    ['State', show(b.connection), show(s.connection_state), good(b.connection), good(s.connection_state)],
    ['ICE', joined(b.ice, b.iceRole), joined(s.ice_connection_state, st.ice_role), good(b.ice), good(s.ice_connection_state)],
    ['Own address', address(b.local), address(s.selected_pair?.local)],
    ['Peer address', address(b.remote), address(s.selected_pair?.remote)],
    ['Round trip', trip(b.roundTrip), trip(s.selected_pair?.round_trip_time_ms)],
    ['DTLS', joined(b.tlsVersion ?? b.dtlsState, b.dtlsRole), joined(st.tls_version ?? st.dtls_state, st.dtls_role)],
    ['DTLS cipher', broken(b.dtlsCipher), broken(st.dtls_cipher)],
    ['SRTP', broken(b.srtpCipher?.replace(/^SRTP_/, '')), broken(st.srtp_cipher?.replace(/^SRTP_/, ''))],
    ['Codecs', [short(b.videoCodec), short(b.audioCodec)].filter(Boolean).join(', ') || dash, s.echo ? 'passed through' : dash],
    ['Sound level', counted([level(b.levelSent), 'sent'], [b.listening ? level(b.levelBack) : undefined, 'back']), s.echo ? 'passed through' : dash],
    ['Sent', bytes(b.bytesSent), bytes(st.bytes_sent)],
    ['Received', bytes(b.bytesReceived), bytes(st.bytes_received)],
    ['Messages', counted([b.messagesSent, 'out'], [b.messagesReceived, 'in']),
      counted([echo.messages_in, 'in'], [echo.messages_out, 'out'])],
    ['Video lost', videoLost === undefined ? dash : `${amount(videoLost)} of ${amount((b.videoIn.packetsReceived ?? 0) + videoLost)}`,
      counted([echo.rtp_asked_again, 'asked again'], [echo.rtp_resent, 'resent'])],
    ['Key frames', counted([b.videoOut?.keyFramesEncoded, 'made'], [b.videoIn?.pliCount, 'asked']),
      counted([echo.key_frames_asked, 'asked'])],
  ];
}

function counted(...pairs) {
  const known = pairs.filter(([value]) => value !== undefined && value !== null);
  return known.map(([value, word]) => `${typeof value === 'number' ? amount(value) : value} ${word}`).join(', ') || dash;
}

function joined(...parts) {
  return parts.filter((part) => part !== undefined && part !== null && part !== '' && part !== 'unknown').join(', ') || dash;
}
