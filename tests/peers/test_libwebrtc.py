"""libwebrtc, by the package `wrtc` with aiortc's API: as a client of our echo server, as a server for our client."""

import asyncio
import contextlib
import functools
import unittest
from unittest import mock

import webrtc
import webrtc.aiortc

from descriptions import without_mux
from echo_peer import EchoPeer
from echo_process import EchoServer, run_client
from peer_tests import TEST_SECONDS, PeerTests

OURS = ("--rtcp-mux", "negotiate")


@contextlib.contextmanager
def negotiating_mux():
    """Connections that are made meanwhile may have RTCP on a transport of its own (`kRtcpMuxPolicyNegotiate`): libwebrtc
    can, but aiortc's API, which has no word for it and no aiortc that could, looks for rtcp-mux before it asks."""
    negotiate = webrtc.RTCRtcpMuxPolicy.negotiate
    made = functools.partial(webrtc.RTCConfiguration, rtcp_mux_policy=negotiate)
    unchecked = mock.patch.object(webrtc.aiortc.rtcpeerconnection, "_invalid_media", lambda sdp, *, answer: None)
    with mock.patch.object(webrtc, "RTCConfiguration", made), unchecked:
        yield


class LibwebrtcTest(PeerTests, unittest.IsolatedAsyncioTestCase):
    rtc = webrtc.aiortc
    sizes = (0, 1, 1_000, 1_200, 16_384, 65_536, 262_144)

    async def test_rtcp_has_a_transport_of_its_own(self) -> None:
        """RFC 5761 section 5.1.1: an offer without rtcp-mux. Data, picture and sound; RTCP by component 2, with DTLS of its own."""
        async with EchoServer(*OURS) as server, asyncio.timeout(TEST_SECONDS):
            with self.explained(server), negotiating_mux():
                connection, channel = await self.connect(server, media=True, bundle=False, said=without_mux)
                self.assertNotIn("a=rtcp-mux", connection.remoteDescription.sdp)
                await asyncio.gather(self.exchange_data(channel), self.exchange_media(connection))
                await self.assert_rtcp_apart(connection)

    async def test_our_client_has_rtcp_on_a_transport_of_its_own(self) -> None:
        """Our offer of rtcp-mux, answered without."""
        with negotiating_mux():
            async with EchoPeer(self.rtc, bundle=False, mux=False) as peer, asyncio.timeout(TEST_SECONDS):
                code, output = await run_client(peer.url, *OURS)
                self.assertEqual(code, 0, f"{output}\n{peer.problems}")
                self.assertIn("The random string came back.", output)
                self.assertEqual(list(peer.transport_states.values()), ["connected"] * 2)

    async def test_both_may_and_multiplex(self) -> None:
        """RFC 5761 section 5.1.1: who offers rtcp-mux and is answered so gives the second component up."""
        async with EchoServer(*OURS) as server, asyncio.timeout(TEST_SECONDS):
            with self.explained(server), negotiating_mux():
                connection, channel = await self.connect(server, media=True)
                await asyncio.gather(self.exchange_data(channel), self.exchange_media(connection))
                self.assertEqual(len(await self.transport_stats(connection)), 1)

    async def assert_rtcp_apart(self, connection) -> None:
        """Picture and sound have a transport for RTP and one for RTCP, data has one: all connected, and packets pass by each."""
        while True:
            transports = await self.transport_stats(connection)
            self.assertEqual(len(transports), 5)
            self.assertEqual({one.dtls_state.value for one in transports}, {"connected"})
            if all(one.packets_received > 2 and one.packets_sent > 2 for one in transports):
                return
            await asyncio.sleep(0.2)

    async def transport_stats(self, connection) -> list:
        stats = (await connection._native.get_stats()).values()
        return [one for one in stats if isinstance(one, webrtc.RTCTransportStats)]


if __name__ == "__main__":
    unittest.main(verbosity=2)
