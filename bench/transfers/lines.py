"""A line that carries so many bytes a second and connection: `python -m bench.transfers.lines PORT BYTES`.

It listens on a free port of 127.0.0.1, prints it, and passes on what it is sent to PORT, in a process of its own so that
what is measured pays nothing for it.
"""

import asyncio
import contextlib
import socket
import sys
import time

PIECE = 64 << 10
BUFFER = 256 << 10
"""Of the kernel, each way: what fits in there is not slowed down."""


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rate: float) -> None:
    """Pass on one way, at no more than `rate` bytes a second."""
    began, carried = time.monotonic(), 0
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
            carried += len(piece)
            ahead = carried / rate - (time.monotonic() - began)
            if ahead > 0:
                await asyncio.sleep(ahead)
            elif ahead < -0.1:
                # a pause is not made up for
                began, carried = time.monotonic(), 0
    with contextlib.suppress(ConnectionError, OSError):
        writer.write_eof()


async def serve(port: int, rate: float) -> None:
    """Listen, say where, and carry until the process is ended."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_in, there_out = await asyncio.open_connection("127.0.0.1", port, limit=BUFFER)
        for end in (writer, there_out):
            end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        try:
            await asyncio.gather(_carry(reader, there_out, rate), _carry(there_in, writer, rate))
        finally:
            for end in (writer, there_out):
                end.close()

    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    listening.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(carry, sock=listening, limit=BUFFER)
    print(listening.getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))
