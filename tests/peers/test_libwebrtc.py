"""libwebrtc, by the package `wrtc` with aiortc's API: as a client of our echo server, as a server for our client."""

import unittest

import webrtc.aiortc

from peer_tests import PeerTests


class LibwebrtcTest(PeerTests, unittest.IsolatedAsyncioTestCase):
    rtc = webrtc.aiortc
    sizes = (0, 1, 1_000, 1_200, 16_384, 65_536, 262_144)


if __name__ == "__main__":
    unittest.main(verbosity=2)
