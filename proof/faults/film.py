"""The one small MP4 that every job's file is made from."""

import io
from fractions import Fraction

import av

WIDTH, HEIGHT, SECONDS, RATE = 64, 64, 1, 12


def film() -> bytes:
    """A second of moving grey, as H.264 in an MP4."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = Fraction(1, RATE)
        for number in range(SECONDS * RATE):
            frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes((7 * number + 13 * n) % 200 + 20 for n in range(plane.buffer_size)))
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target.getvalue()
