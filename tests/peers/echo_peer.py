"""A small server of the echo protocol on aiortc's API: data and media come back."""

import asyncio

from aiohttp import web

from descriptions import transport_states, without_bundle, without_mux


class EchoPeer:
    """`async with EchoPeer(rtc) as peer`: listens at `peer.url`. Without `bundle`, or `mux`, it never heard of that."""

    def __init__(self, rtc, bundle: bool = True, mux: bool = True) -> None:
        self.rtc = rtc
        self.said = without_bundle if not bundle else str
        self.said = self.said if mux else without_mux
        self.connections: list = []
        self.problems: list[str] = []
        # As of the last message: the client closes all of them before it ends.
        self.transport_states: dict[frozenset[int], str] = {}

    async def __aenter__(self) -> "EchoPeer":
        app = web.Application()
        app.router.add_post("/offer", self._offer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}/offer"
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(connection.close() for connection in self.connections))
        await self._runner.cleanup()

    async def _offer(self, request: web.Request) -> web.Response:
        offer = await request.json()
        try:
            answer = await self._answer(self.rtc.RTCSessionDescription(self.said(offer["sdp"]), offer["type"]))
        except Exception as error:
            self.problems.append(repr(error))
            raise
        return web.json_response({"type": answer.type, "sdp": self.said(answer.sdp)})

    async def _answer(self, offer):
        connection = self.rtc.RTCPeerConnection()
        self.connections.append(connection)

        @connection.on("datachannel")
        def on_channel(channel) -> None:
            def on_message(message) -> None:
                self.transport_states = transport_states(connection)
                channel.send(message)

            channel.on("message", on_message)

        @connection.on("track")
        def on_track(track) -> None:
            connection.addTrack(track)

        await connection.setRemoteDescription(offer)
        await connection.setLocalDescription(await connection.createAnswer())
        return connection.localDescription
