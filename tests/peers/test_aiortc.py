"""aiortc: as a client of our echo server, and as a server for our client."""

import unittest

import aiortc

from peer_tests import PeerTests


class AiortcTest(PeerTests, unittest.IsolatedAsyncioTestCase):
    rtc = aiortc
    # What aiortc says it takes: a=max-message-size:65536.
    sizes = (0, 1, 1_000, 1_200, 16_384, 65_535)


if __name__ == "__main__":
    unittest.main(verbosity=2)
