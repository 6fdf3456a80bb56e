"""The echo example as a process: its server, or its client, and what either said."""

import asyncio
import os
import pathlib
import re

BUILD = "cargo build --release --example echo"
BUILT = pathlib.Path(__file__).parents[2] / "target/release/examples/echo"
BINARY = pathlib.Path(os.environ.get("PEERSTACK_ECHO", BUILT))
START_SECONDS = 30
CLIENT_SECONDS = 120


def _command(*args: str) -> dict:
    if not BINARY.exists():
        raise FileNotFoundError(f"{BINARY} is not built: {BUILD}")
    environment = dict(os.environ, NO_COLOR="1")
    environment.setdefault("RUST_LOG", "warn,echo=info,peerstack=debug")
    return {
        "args": (str(BINARY), *args),
        "kwargs": {
            "env": environment,
            "stdin": asyncio.subprocess.DEVNULL,
            "stdout": asyncio.subprocess.PIPE,
            "stderr": asyncio.subprocess.STDOUT,
        },
    }


class EchoServer:
    """`async with EchoServer() as server`: listens at `server.address`, keeps its log."""

    def __init__(self, *options: str) -> None:
        self.options = options

    async def __aenter__(self) -> "EchoServer":
        command = _command("--port", "0", *self.options)
        self.lines: list[str] = []
        self._address = asyncio.get_running_loop().create_future()
        self._process = await asyncio.create_subprocess_exec(*command["args"], **command["kwargs"])
        self._reader = asyncio.create_task(self._read())
        try:
            self.address = await asyncio.wait_for(self._address, START_SECONDS)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()
        await self._reader

    async def _read(self) -> None:
        while line := await self._process.stdout.readline():
            text = line.decode(errors="replace").rstrip()
            self.lines.append(text)
            found = re.search(r"POST (http:\S+)/offer", text)
            if found and not self._address.done():
                self._address.set_result(found[1])
        if not self._address.done():
            self._address.set_exception(RuntimeError("the echo server ended:\n" + self.log()))

    def log(self) -> str:
        return "\n".join(self.lines[-200:])


async def run_client(url: str, *options: str) -> tuple[int, str]:
    """Runs `echo --client URL`; gives its exit code and what it printed."""
    command = _command("--client", url, *options)
    process = await asyncio.create_subprocess_exec(*command["args"], **command["kwargs"])
    try:
        output, _ = await asyncio.wait_for(process.communicate(), CLIENT_SECONDS)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    return process.returncode, output.decode(errors="replace")
