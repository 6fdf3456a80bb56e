"""Descriptions as a peer without BUNDLE writes them, and the transports that come of them."""


def without_bundle(sdp: str) -> str:
    """The description as of a peer that never heard of BUNDLE."""
    return "".join(line for line in sdp.splitlines(keepends=True) if not line.startswith("a=group:BUNDLE"))


def transport_states(connection) -> dict[frozenset[int], str]:
    """The state of each transport that carries something, by its ports: user fragments may be the same for all."""
    receivers = [transceiver.receiver for transceiver in connection.getTransceivers()]
    found = {}
    for transport in [receiver.transport for receiver in receivers] + [connection.sctp.transport]:
        candidates = transport.transport.iceGatherer.getLocalCandidates()
        ports = frozenset(candidate.port for candidate in candidates if candidate.protocol == "udp")
        found[ports] = transport.state
    return found
