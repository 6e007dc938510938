"""The sample clips: good ones that must pass every check, and bad ones with the check that must fail."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from bench.films.encoder import Film, Filter

WIDE = "s=480x270:r=24"


@dataclass(frozen=True)
class Shot:
    """A clip and the expected finding."""

    film: Film
    """The clip to make."""
    wrong: str | None = None
    """The check that must fail; None for a good clip."""


SOURCES: dict[str, Filter] = {
    "gradient": (
        "gradients",
        f"{WIDE}:c0=0x0b1d3a:c1=0xf0b429:c2=0xd64545:c3=0x2cb1bc:n=4:speed=0.02:seed=3",
    ),
    "slow gradient": (
        "gradients",
        f"{WIDE}:c0=0x12372a:c1=0xfbfada:c2=0x436850:c3=0xd98324:n=4:speed=0.005:seed=9",
    ),
    "zoom": ("mandelbrot", "s=480x270:r=24:end_scale=0.02:end_pts=240"),
    "other zoom": ("mandelbrot", "s=480x270:r=24:start_x=-1.2:start_y=-0.3:end_scale=0.01:end_pts=240"),
    "card": ("testsrc2", WIDE),
    "cells": ("life", "s=160x90:r=24:mold=10:ratio=0.3:seed=7:death_color=#204060:life_color=#f0e0a0"),
    "automaton": ("cellauto", "s=160x90:r=24:rule=110:seed=4"),
    "carpet": ("sierpinski", "s=480x270:r=24:seed=5"),
}
"""Moving pictures of different kinds."""

OTHERS: dict[str, Filter] = {
    "spiral": ("gradients", f"{WIDE}:c0=0x3d0e1e:c1=0xf7b267:c2=0x5b8e7d:n=3:speed=0.03:seed=77:type=spiral"),
    "circles": (
        "gradients",
        f"{WIDE}:c0=0x0f2027:c1=0x9bd1e5:c2=0x2c7da0:c3=0xe9f5db:n=4:speed=0.008:seed=41:type=circular",
    ),
    "third zoom": ("mandelbrot", "s=480x270:r=24:start_x=0.28:start_y=0.01:end_scale=0.005:end_pts=240"),
    "plate": ("zoneplate", f"{WIDE}:kt2=1:kx2=2:ky2=2"),
    "old card": ("testsrc", WIDE),
    "other cells": ("life", "s=160x90:r=24:rule=S14/B34:mold=20:ratio=0.4:seed=12:death_color=#603010"),
    "other automaton": ("cellauto", "s=160x90:r=24:rule=30:seed=8"),
    "triangle": ("sierpinski", "s=480x270:r=24:seed=15:type=triangle"),
}
"""Further sources; no threshold was chosen by them."""

STILL: Filter = ("testsrc2", f"{WIDE}:d=0.04")
HOLD: Filter = ("tpad", "stop_mode=clone:stop_duration=60")

TREATMENTS: dict[str, tuple[Filter, ...]] = {
    "plain": (),
    "grain": (("format", "yuv420p"), ("noise", "alls=12:allf=t")),
    "dark": (("lutyuv", "y=16+(val-16)*0.3"),),
    "faded in": (("fade", "t=in:d=1.2"),),
    "faded out": (("fade", "t=out:st=4:d=1"),),
    "pale": (("lutyuv", "y=110+(val-16)*0.3"),),
}

LOCKED_OFF: tuple[Filter, ...] = (
    ("drawbox", "x=40:y=200:w=24:h=16:color=white:t=fill:enable='lt(mod(t,1),0.5)'"),
)
"""A still scene with one light that blinks."""

PAUSED: tuple[Filter, ...] = (("sine", "f=440"), ("volume", "volume='if(lt(mod(t,6),3.5),0,1)':eval=frame"))
QUIET: tuple[Filter, ...] = (("sine", "f=220"), ("volume", "0.02"))
SILENT: tuple[Filter, ...] = (("anullsrc", "r=48000:cl=stereo"),)
HUMMING: tuple[Filter, ...] = (("anoisesrc", "a=0.003:c=pink:seed=1"),)
FALLS_SILENT: tuple[Filter, ...] = (("sine", "f=330:d=4"), ("apad", "pad_dur=60"))


def good(sources: dict[str, Filter]) -> Iterator[Shot]:
    """Good clips, some of them close to a fault."""
    for (name, source), (how, filters) in product(sources.items(), TREATMENTS.items()):
        yield Shot(Film(f"{name}, {how}", source, filters))
    card = Film("card", SOURCES["card"])
    for change in (
        {"name": "tall", "size": (270, 480)},
        {"name": "large", "size": (1920, 1080), "seconds": 4.0},
        {"name": "coarse", "quality": 42},
        {"name": "60 frames a second", "fps": 60},
        {"name": "12 frames a second", "fps": 12},
        {"name": "HEVC", "codec": "libx265"},
        {"name": "AV1", "codec": "libsvtav1", "quality": 40},
        {"name": "VP9", "codec": "libvpx-vp9", "quality": 40},
        {"name": "no B frames, one key frame", "options": {"bf": "0", "g": "1000"}},
        {"name": "pauses in the sound", "sound": PAUSED, "seconds": 12.0},
        {"name": "quiet sound", "sound": QUIET},
        {"name": "room tone", "sound": HUMMING},
        {"name": "sound ends 0.6 s early", "heard": ((0.0, 4.4),)},
        {"name": "sound begins 0.6 s late", "heard": ((0.6, 5.0),)},
    ):
        yield Shot(replace(card, **change))
    for name, source in list(sources.items())[::3]:
        black = (("tpad", "start_duration=1.4:start_mode=add:color=black"),)
        yield Shot(Film(f"{name}, begins black for 1.4 s", source, black, seconds=6.0))
        held = (("trim", "end=2.5"), ("tpad", "stop_mode=clone:stop_duration=60"))
        yield Shot(Film(f"{name}, held for 2.5 s at its end", source, held))
    still = (HOLD, *LOCKED_OFF)
    yield Shot(Film("still scene with a light that blinks", STILL, still))
    yield Shot(Film("still scene with a light that blinks, grain", STILL, (*still, *TREATMENTS["grain"])))
    night: Filter = ("color", f"c=0x060608:{WIDE}")
    lights = tuple(
        ("drawbox", f"x={x}:y={y}:w=14:h=14:color=0xf0d080:t=fill:enable='gt(mod(t+{x / 640:.2f},0.8),0.3)'")
        for x, y in (
            (60, 40),
            (180, 220),
            (300, 120),
            (420, 300),
            (560, 80),
            (500, 200),
            (240, 320),
            (120, 150),
        )
    )
    yield Shot(Film("night with lights", night, lights))


def bad(sources: dict[str, Filter]) -> Iterator[Shot]:
    """Clips with one fault each."""
    for name, source in sources.items():
        held = (("trim", "end=1.4"), ("tpad", "stop_mode=clone:stop_duration=60"))
        yield Shot(Film(f"{name}, stands still after 1.4 s", source, held), "frozen")
        cut = (("tpad", "start_duration=2.4:start_mode=add:color=black"),)
        yield Shot(Film(f"{name}, begins black for 2.4 s", source, cut, seconds=6.0), "black")
        yield Shot(Film(f"{name}, silent", source, sound=SILENT), "silence")
    black: Filter = ("color", f"c=black:{WIDE}")
    yield Shot(Film("black", black), "black")
    yield Shot(Film("black, 1.5 s long", black, seconds=1.5), "black")
    yield Shot(Film("black, grain", black, (("noise", "alls=6:allf=t"),)), "black")
    yield Shot(Film("black, coarse", black, (("noise", "alls=6:allf=t"),), quality=42), "black")
    yield Shot(Film("almost black", ("color", f"c=0x080808:{WIDE}")), "black")
    yield Shot(Film("one picture", STILL, (HOLD,)), "frozen")
    yield Shot(Film("one picture, grain", STILL, (HOLD, *TREATMENTS["grain"])), "frozen")
    yield Shot(Film("one picture, many key frames", STILL, (HOLD,), options={"g": "6"}), "frozen")
    yield Shot(Film("one picture, coarse", STILL, (HOLD,), quality=40), "frozen")
    yield Shot(Film("one grey", ("color", f"c=gray:{WIDE}")), "frozen")
    yield Shot(
        Film("falls silent after 4 s of 12", SOURCES["card"], sound=FALLS_SILENT, seconds=12.0), "silence"
    )
    yield Shot(Film("no sound track", SOURCES["card"], sound=()), "audio")
    for name, heard in (
        ("ends 1.5 s early", ((0.0, 3.5),)),
        ("begins 1.5 s late", ((1.5, 5.0),)),
        ("has a hole of 1.5 s", ((0.0, 2.0), (3.5, 5.0))),
    ):
        yield Shot(Film(f"sound {name}", SOURCES["card"], heard=heard), "coverage")
    yield Shot(Film("another size", SOURCES["card"], size=(360, 270)), "size")
    yield Shot(Film("another shape", SOURCES["card"], size=(270, 480)), "size")
    yield Shot(Film("10 s for 5 s", SOURCES["card"], seconds=10.0), "duration")
    yield Shot(Film("4.5 s for 5 s", SOURCES["card"], seconds=4.5), "duration")
    yield Shot(Film("30 frames a second for 24", SOURCES["card"], fps=30), "frame_rate")


COPIES: dict[str, dict[str, object]] = {
    "encoded again, coarser": {"quality": 34},
    "smaller": {"size": (320, 180)},
    "larger": {"size": (1280, 720)},
    "another codec": {"codec": "libx265"},
    "a little brighter": {"filters": (("lutyuv", "y=val+6"),)},
    "with grain": {"filters": TREATMENTS["grain"]},
}
"""Changes that make another file of a clip with the same look."""
