"""What both packages are asked to do; each has a test file of its own, which names it."""

import asyncio
import json
import random

import aiohttp

import tracks
from descriptions import transport_states, without_bundle
from echo_peer import EchoPeer
from echo_process import EchoServer, run_client

CONNECT_SECONDS = 30
TEST_SECONDS = 120
ROUNDS = 10
VIDEO_FRAMES = 40
AUDIO_FRAMES = 100


class PeerTests:
    """Mixed into a `unittest.IsolatedAsyncioTestCase` that sets `rtc` and `sizes`."""

    rtc = None
    sizes: tuple[int, ...] = ()

    async def test_data_comes_back(self) -> None:
        async with EchoServer() as server, asyncio.timeout(TEST_SECONDS):
            with self.explained(server):
                _, channel = await self.connect(server)
                await self.exchange_data(channel)

    async def test_picture_and_sound_come_back(self) -> None:
        async with EchoServer() as server, asyncio.timeout(TEST_SECONDS):
            with self.explained(server):
                connection, _ = await self.connect(server, media=True)
                await self.exchange_media(connection)

    async def test_without_bundle_each_section_has_a_transport(self) -> None:
        """RFC 9143 section 7.1: a peer that never heard of BUNDLE. Data, picture and sound at once, three transports."""
        async with EchoServer() as server, asyncio.timeout(TEST_SECONDS):
            with self.explained(server):
                connection, channel = await self.connect(server, media=True, bundle=False)
                await asyncio.gather(self.exchange_data(channel), self.exchange_media(connection))
                self.assertEqual(list(transport_states(connection).values()), ["connected"] * 3)

    async def test_closing_here_closes_our_channel(self) -> None:
        async with EchoServer() as server, asyncio.timeout(TEST_SECONDS):
            with self.explained(server):
                connection, _ = await self.connect(server)
                await connection.close()
                while not any("data channel closed" in line for line in server.lines):
                    await asyncio.sleep(0.05)

    async def test_our_client_against_its_server(self) -> None:
        async with EchoPeer(self.rtc) as peer, asyncio.timeout(TEST_SECONDS):
            code, output = await run_client(peer.url)
            self.assertEqual(code, 0, f"{output}\n{peer.problems}")
            self.assertIn("The random string came back.", output)
            print(output)

    async def test_our_client_against_its_server_without_bundle(self) -> None:
        """An offer of a group, answered without one (RFC 9143 section 7.3): each section keeps its transport."""
        async with EchoPeer(self.rtc, bundle=False) as peer, asyncio.timeout(TEST_SECONDS):
            code, output = await run_client(peer.url)
            self.assertEqual(code, 0, f"{output}\n{peer.problems}")
            self.assertIn("The random string came back.", output)
            # The client offers audio and data.
            self.assertEqual(list(peer.transport_states.values()), ["connected"] * 2)

    def explained(self, server: EchoServer):
        """Adds what the server said to whatever goes wrong."""
        return _Explained(server)

    async def connect(self, server: EchoServer, media: bool = False, bundle: bool = True, said=None):
        said = said or (str if bundle else without_bundle)
        configuration = None
        if not bundle:
            configuration = self.rtc.RTCConfiguration(bundlePolicy=self.rtc.RTCBundlePolicy.MAX_COMPAT)
        connection = self.rtc.RTCPeerConnection(configuration)
        self.addAsyncCleanup(connection.close)
        channel = connection.createDataChannel("test")
        if media:
            connection.addTrack(tracks.tone_track(self.rtc))
            connection.addTrack(tracks.grey_track(self.rtc))
        opened = asyncio.Event()
        channel.on("open", opened.set)
        await connection.setLocalDescription(await connection.createOffer())
        offer = connection.localDescription
        body = json.dumps({"type": offer.type, "sdp": said(offer.sdp)})
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{server.address}/offer", data=body) as response:
                self.assertEqual(response.status, 200, await response.text())
                answer = await response.json()
        self.assertEqual("a=group:BUNDLE" in answer["sdp"], bundle)
        await connection.setRemoteDescription(self.rtc.RTCSessionDescription(answer["sdp"], answer["type"]))
        async with asyncio.timeout(CONNECT_SECONDS):
            await opened.wait()
        return connection, channel

    async def exchange_data(self, channel) -> None:
        came: asyncio.Queue = asyncio.Queue()
        channel.on("message", came.put_nowait)
        dice = random.Random(1)
        for _ in range(ROUNDS):
            sent = []
            for size in self.sizes:
                sent.append(dice.randbytes(size))
                sent.append("".join(dice.choices("aé€😀", k=size // 4)))
            for message in sent:
                channel.send(message)
            for message in sent:
                echoed = await came.get()
                self.assertEqual(type(echoed), type(message))
                self.assertTrue(echoed == message, f"{len(message)} went out, {len(echoed)} came, not equal")

    async def exchange_media(self, connection) -> None:
        received = {}
        for transceiver in connection.getTransceivers():
            received[transceiver.kind] = transceiver.receiver.track
        loud, bright = await asyncio.gather(
            tracks.hear(received["audio"], AUDIO_FRAMES), tracks.see(received["video"], VIDEO_FRAMES)
        )
        self.assertGreater(loud, tracks.AMPLITUDE / 8, "the echoed audio is silence")
        self.assertLess(abs(bright - tracks.LUMA), 16, "the echoed picture is another")


class _Explained:
    def __init__(self, server: EchoServer) -> None:
        self.server = server

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, _) -> None:
        if error is not None:
            error.add_note(f"---- the echo server\n{self.server.log()}\n----")


