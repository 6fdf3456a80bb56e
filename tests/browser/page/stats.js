// What the browser counts of the connection, in the words of webrtc-stats.

function add(sums, entry, names) {
  const sum = (sums[entry.kind ?? entry.mediaType] ??= {});
  for (const name of names) sum[name] = (sum[name] ?? 0) + (entry[name] ?? 0);
}

/** The bytes of the transport, and those of RTP by kind. */
export async function readStats(pc) {
  const report = [...(await pc.getStats()).values()];
  const transport = report.find((entry) => entry.type === 'transport');
  const pairs = report.filter((entry) => entry.type === 'candidate-pair');
  const pair = pairs.find((entry) => entry.id === transport?.selectedCandidatePairId)
    ?? pairs.find((entry) => entry.selected) ?? pairs.find((entry) => entry.nominated && entry.state === 'succeeded');
  const [sent, received] = [{}, {}];
  for (const entry of report) {
    if (entry.type === 'outbound-rtp') add(sent, entry, ['bytesSent', 'headerBytesSent', 'retransmittedBytesSent', 'packetsSent', 'nackCount', 'pliCount', 'framesEncoded']);
    if (entry.type === 'inbound-rtp') add(received, entry, ['bytesReceived', 'headerBytesReceived', 'packetsReceived', 'packetsLost', 'framesDecoded', 'nackCount', 'pliCount']);
  }
  // Firefox counts bytes by candidate pair alone.
  const bytes = transport?.bytesSent === undefined ? pair : transport;
  const name = (id) => report.find((entry) => entry.id === id)?.candidateType;
  return {
    transport: { bytesSent: bytes?.bytesSent, bytesReceived: bytes?.bytesReceived },
    tlsVersion: transport?.tlsVersion,
    dtlsCipher: transport?.dtlsCipher,
    srtpCipher: transport?.srtpCipher,
    pair: pair ? `${name(pair.localCandidateId)} to ${name(pair.remoteCandidateId)}` : null,
    sent,
    received,
  };
}
