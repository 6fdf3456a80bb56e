"""Descriptions as a peer without BUNDLE, or without rtcp-mux, writes them, and the transports that come of them."""


def without_bundle(sdp: str) -> str:
    """The description as of a peer that never heard of BUNDLE."""
    return "".join(line for line in sdp.splitlines(keepends=True) if not line.startswith("a=group:BUNDLE"))


def without_mux(sdp: str) -> str:
    """The description as of a peer that never heard of BUNDLE, nor of RTCP by RTP's transport (RFC 5761)."""
    lines = without_bundle(sdp).splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("a=rtcp-mux"))


def transport_states(connection) -> dict[frozenset[int], str]:
    """The state of each transport that carries something, by its ports: user fragments may be the same for all."""
    receivers = [transceiver.receiver for transceiver in connection.getTransceivers()]
    found = {}
    for transport in [receiver.transport for receiver in receivers] + [connection.sctp.transport]:
        candidates = transport.transport.iceGatherer.getLocalCandidates()
        ports = frozenset(candidate.port for candidate in candidates if candidate.protocol == "udp")
        found[ports] = transport.state
    return found
