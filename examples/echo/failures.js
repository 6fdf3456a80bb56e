// Why there is no connection, in words for the person in front of the page.

import { Failure } from './protocol.js';

// `reached` names the steps that were done; `told` is what the server says of the end, if it says anything;
// null if it does not answer at all.
export function whyFailed(reached, candidates, told) {
  if (reached.has('dtls')) return lost(told);
  return reached.has('ice') ? dtlsFailed(told) : iceFailed(candidates, told);
}

function lost(told) {
  return new Failure('The connection was lost', 'Packets no longer get through to the server.',
    { hint: told === null ? `Nothing answers at ${location.origin} either: the server was stopped, or the network is gone.`
      : `${says(told)}The network may have changed, or a firewall begun to hold UDP back.` });
}

export function dtlsFailed(told) {
  return new Failure('DTLS failed', 'Packets get through, but browser and server could not agree on keys. '
    + 'A certificate that is not the one named in offer or answer is refused.', { hint: says(told).trim() });
}

export function iceFailed(candidates, told) {
  return new Failure('ICE failed', 'No way for packets between browser and server was found.', {
    hint: `The browser offered: ${listed(candidates.local)}.\nThe server offered: ${listed(candidates.remote)}.\n`
      + `${says(told)}A firewall or a VPN may hold UDP back.`,
  });
}

const says = (told) => (told ? `The server says: ${told}\n` : '');

const listed = (lines) => [...new Set(lines.map(inShort))].join(', ') || 'nothing';

// candidate:foundation component protocol priority address port typ type ... (RFC 8839 section 5.1)
function inShort(line) {
  const [, , protocol = '', , address = '', , , type] = line.split(' ');
  const shown = address.endsWith('.local') ? 'address hidden by the browser (mDNS)' : address;
  return `${type} ${shown} ${protocol.toLowerCase()}`;
}
