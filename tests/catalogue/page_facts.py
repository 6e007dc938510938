"""Facts of the providers' pages, row by row: a third list, with which the catalogue and the sandbox are compared.

A row has a parameter's name, its type, whether it is required, the default, and the allowed values: a list, `a..b` for whole
numbers, or None if the page names none. A note names the page of a doubtful row. Prices are examples from the pages: parameters
besides the required ones, and US dollars.
"""

from typing import Any

from living_pages import LIVING
from page_rows import RATIOS, Page, Row, prompt

SORA_SIZES = ["720*1280", "1280*720"]
PRO_SIZES = ["720*1280", "1280*720", "1024*1792", "1792*1024", "1920*1080", "1080*1920"]
TO_20, TO_12 = [4, 8, 12, 16, 20], [4, 8, 12]


PAGES = {
    "openai/sora-2/text-to-video": Page(
        "wavespeed",
        "text-to-video",
        (
            prompt(),
            Row("size", "string", default="720*1280", allowed=SORA_SIZES),
            Row("duration", "integer", default=4, allowed=TO_20),
            Row("characters", "array"),
        ),
        "0.40",
        tuple(({"duration": n}, f"{n * 10 // 100}.{n * 10 % 100:02}") for n in TO_20),
    ),
    "openai/sora-2-pro/text-to-video": Page(
        "wavespeed",
        "text-to-video",
        (
            prompt(),
            Row("size", "string", default="1280*720", allowed=PRO_SIZES),
            Row("duration", "integer", default=4, allowed=TO_20),
        ),
        "1.20",
        (
            ({"size": "720*1280", "duration": 4}, "1.20"),
            ({"size": "1280*720", "duration": 8}, "2.40"),
            ({"size": "1280*720", "duration": 20}, "6.00"),
            ({"size": "1024*1792", "duration": 4}, "2.00"),
            ({"size": "1792*1024", "duration": 20}, "10.00"),
            ({"size": "1920*1080", "duration": 4}, "2.80"),
            ({"size": "1080*1920", "duration": 20}, "14.00"),
        ),
    ),
    "openai/sora-2/text-to-video-pro": Page(
        "wavespeed",
        "text-to-video",
        (
            prompt(),
            Row("size", "string", default="720*1280", allowed=PRO_SIZES),
            Row("duration", "integer", default=4, allowed=TO_12),
        ),
        "1.20",
        tuple(({"size": "720*1280", "duration": n}, f"{n * 30 // 100}.{n * 30 % 100:02}") for n in TO_12),
    ),
    "openai/sora-2/image-to-video": Page(
        "wavespeed",
        "image-to-video",
        (
            Row("image", "string", True),
            prompt(),
            Row("duration", "integer", default=4, allowed=TO_20),
        ),
        "0.40",
        (({"duration": 4}, "0.40"), ({"duration": 20}, "2.00")),
    ),
    "openai/sora-2/image-to-video-pro": Page(
        "wavespeed",
        "image-to-video",
        (
            Row("image", "string", True),
            prompt(),
            Row("resolution", "string", default="720p", allowed=["720p", "1080p"]),
            Row("duration", "integer", default=4, allowed=TO_12),
        ),
        "1.20",
        (({"resolution": "720p", "duration": 4}, "1.20"), ({"resolution": "1080p", "duration": 4}, "2.00")),
    ),
    "openai/sora-2-pro/image-to-video": Page(
        "wavespeed",
        "image-to-video",
        (
            Row("image", "string", True),
            prompt(),
            Row("resolution", "string", default="720p", allowed=["720p", "1080p"]),
            Row("duration", "integer", default=4, allowed=TO_20),
        ),
        "1.20",
        (
            ({"resolution": "720p", "duration": 20}, "6.00"),
            ({"resolution": "1080p", "duration": 20}, "10.00"),
        ),
    ),
    "openai/sora-2/characters": Page(
        "wavespeed",
        "video-to-text",
        (Row("video", "string", True), Row("name", "string", True)),
        "0.001",
        (({}, "0.001"),),
    ),
    "openai/sora-2": Page(
        "wavespeed",
        "text-to-video",
        (
            prompt(),
            Row("image", "string"),
            Row("aspect_ratio", "string", default="9:16", allowed=["9:16", "16:9"]),
        ),
    ),
    "bytedance/seedance-2.0/text-to-video": Page(
        "wavespeed",
        "text-to-video",
        (
            prompt(),
            Row("aspect_ratio", "string", default="16:9", allowed=RATIOS),
            Row("duration", "integer", default=5, allowed="4..15"),
            Row("resolution", "string", default="720p", allowed=["480p", "720p", "1080p"]),
            Row("reference_images", "array"),
            Row("reference_videos", "array"),
            Row("reference_audios", "array"),
            Row("generate_audio", "boolean", default=True),
        ),
        examples=(({"duration": 5, "resolution": "720p"}, "1.20"),),
    ),
    "bytedance/seedance-2.0/image-to-video": Page(
        "wavespeed",
        "image-to-video",
        (
            prompt(),
            Row("image", "string", True),
            Row("last_image", "string"),
            Row("aspect_ratio", "string", allowed=RATIOS),
            Row("duration", "integer", default=5, allowed="4..15"),
            Row("resolution", "string", default="720p", allowed=["480p", "720p", "1080p"]),
            Row("generate_audio", "boolean", default=True),
        ),
        examples=(({"duration": 5, "resolution": "720p"}, "1.20"), ({"duration": 15}, "3.60")),
    ),
    "openai/sora-2-t2v": Page(
        "aimlapi",
        "text-to-video",
        (
            prompt(),
            Row("resolution", "string", default="720p", allowed=["720p"]),
            Row("aspect_ratio", "string", default="16:9", allowed=["16:9", "9:16"]),
            Row("duration", "integer", default=4, allowed=TO_12),
        ),
        # not the provider's own page: OpenAI's list price
        examples=(({"duration": 12}, "1.20"),),
    ),
    "openai/sora-2-i2v": Page(
        "aimlapi",
        "image-to-video",
        (
            prompt(),
            Row("image_url", "string", True),
            Row("resolution", "string", default="720p", allowed=["720p"]),
            Row("aspect_ratio", "string", default="16:9", allowed=["16:9", "9:16"]),
            Row("duration", "integer", default=4, allowed=TO_12),
        ),
        examples=(({"duration": 8}, "0.80"),),
    ),
    "openai/sora-2-pro-t2v": Page(
        "aimlapi",
        "text-to-video",
        (
            prompt(),
            Row("resolution", "string", default="1080p", allowed=["720p", "1080p"]),
            Row("aspect_ratio", "string", default="16:9", allowed=["16:9", "9:16"]),
            Row("duration", "integer", default=4, allowed=TO_12),
        ),
        examples=(({"resolution": "720p"}, "1.20"), ({"resolution": "1080p", "duration": 12}, "6.00")),
    ),
    "openai/sora-2-pro-i2v": Page(
        "aimlapi",
        "image-to-video",
        (
            prompt(),
            Row("image_url", "string", True),
            Row("resolution", "string", default="1080p", allowed=["720p", "1080p"]),
            Row("aspect_ratio", "string", default="16:9", allowed=["16:9", "9:16"]),
            Row("duration", "integer", default=4, allowed=TO_12),
        ),
        examples=(({"resolution": "1080p", "duration": 4}, "2.00"),),
    ),
    "bytedance/seedance-2-0": Page(
        "aimlapi",
        "text-to-video",
        (
            prompt(),
            Row("image_url", "string"),
            Row("last_image_url", "string"),
            Row("image_urls", "array", allowed="up to 9"),
            Row("video_urls", "array", allowed="up to 3"),
            Row("audio_urls", "array", allowed="up to 3"),
            Row("aspect_ratio", "string", default="16:9", allowed=RATIOS),
            Row("resolution", "string", default="720p", allowed=["480p", "720p", "1080p", "4k"]),
            Row("duration", "integer", default=5, allowed="4..15"),
            Row("generate_audio", "boolean", default=True),
            Row("seed", "integer"),
            Row("watermark", "boolean", default=False),
            Row("provider", "string", default="auto", allowed=["auto", "bytedance", "fal"]),
        ),
        ours=(("provider", "bytedance"),),
    ),
    **LIVING,
}

RETIRED_ON = "2026-09-24"
"""Models of OpenAI's Sora 2, which was shut down: every id that begins with `openai/`."""

WRONG: dict[str, list[Any]] = {
    "size": ["720x1280", "7201280", "1280*720 ", 720, "720*1281", "1280\u00d7720"],
    "duration": [0, 3, 5.0, "4", True, 21, -4, None, "8s"],
    "resolution": ["720P", "720", 720, "2k", None],
    "aspect_ratio": ["9/16", 556, "2:1", "", "16:9 "],
    "characters": ["char_a", ["alice"], [], [1]],
    "generate_audio": ["true", 1, None],
    "watermark": ["false", 0],
    "image": [
        "../../.env",
        "/etc/passwd",
        "file:///etc/passwd",
        "data:image/png;base64,AA",
        5,
        "",
        "~/a.png",
    ],
    "last_image": ["../../.env", "ftp://example.com/a"],
    "image_url": ["/etc/passwd", "", ["https://example.com/a.png"]],
    "image_urls": [["https://example.com/a.png"] * 10, ["ftp://example.com/a"], ["../../.env"]],
    "video_urls": [["https://example.com/a.mp4"] * 4, [7]],
    "audio_urls": [["https://example.com/a.mp3"] * 4],
    "reference_images": [["../../.env"], []],
    "video": ["../../.env", "file:images/a.mp4#sha256=" + "0" * 64],
    "seed": ["7", 1.5, True],
    "provider": ["Bytedance", "openai"],
    "name": [5],
}
"""Values that must be refused before anything is sent."""


def wrong_values(row: Row) -> list[Any]:
    """Wrong values of a parameter, by its name, that its page does not allow."""
    allowed = [(type(value), value) for value in allowed_values(row)]
    return [value for value in WRONG.get(row.name, []) if (type(value), value) not in allowed]


def allowed_values(row: Row) -> list[Any]:
    """Values that the page allows: all if it lists them, otherwise some."""
    if isinstance(row.allowed, list):
        return row.allowed
    if isinstance(row.allowed, str) and ".." in row.allowed:
        low, high = map(int, row.allowed.split(".."))
        return list(range(low, high + 1))
    known: dict[str, list[Any]] = {
        "characters": [["char_a"], ["char_a", "char_b"]],
        "name": ["Joe"],
        "boolean": [True, False],
        "integer": [0, 7, 2**31 - 1],
    }
    address = (
        f"https://example.com/a{'.mp4' if 'video' in row.name else '.mp3' if 'audio' in row.name else '.png'}"
    )
    if row.type == "array":
        known.setdefault(row.name, [[address], [address] * int((row.allowed or "2").split()[-1])])
    return known.get(row.name) or known.get(row.type) or [address]


def needed(page: Page) -> dict[str, Any]:
    """Required parameters besides the prompt."""
    return {row.name: allowed_values(row)[0] for row in page.rows if row.required and row.name != "prompt"}
