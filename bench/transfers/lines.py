"""A relay that limits the bytes per second of each connection: `python -m bench.transfers.lines PORT BYTES`.

It listens on a free port of 127.0.0.1, prints the port, and forwards all data to PORT. It is a separate process, so that the
measured process does not pay for it.
"""

import asyncio
import contextlib
import socket
import sys
import time

PIECE = 64 << 10
BUFFER = 256 << 10
"""Size of the kernel's buffers in each direction, in bytes; data that fits in them is not slowed down."""


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rate: float) -> None:
    """Forward one direction, at no more than `rate` bytes per second."""
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
                # a pause does not permit a burst afterwards
                began, carried = time.monotonic(), 0
    with contextlib.suppress(ConnectionError, OSError):
        writer.write_eof()


async def serve(port: int, rate: float) -> None:
    """Listen, print the port, and forward until the process is ended."""

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
