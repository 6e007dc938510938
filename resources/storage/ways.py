"""Which optional parts of S3 a server takes, as this process knows it: what one refuses is done without."""

import threading
from collections.abc import Iterator
from itertools import combinations

from pydantic import BaseModel, ConfigDict

from resources.storage.s3_client import S3Settings


class Ways(BaseModel):
    """How objects are stored at one server. Everything is tried until the server refuses it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    stream: bool = True
    """A clip is sent while it arrives; else from its file, once it is whole."""
    conditional: bool = True
    """If-None-Match: an object is never overwritten, whoever else writes. Without it the key is looked up before."""
    checksum: bool = True
    """SHA-256 in a header, for servers that verify it. Without it the MD5 is, or the object is read back."""
    md5: bool = True
    """Content-MD5, which is verified on arrival. Without it the object's ETag or the object itself is compared."""
    checksum_mode: bool = True
    """The stored checksum is asked for with a HEAD."""
    unsigned: bool = True
    """The body is not signed. Else it is read twice, and a clip is not sent while it arrives."""

    def lesser(self) -> Iterator["Ways"]:
        """These ways, then with one feature of a PUT less, with two less, and so on."""
        features = [name for name in ("conditional", "checksum", "md5", "unsigned") if getattr(self, name)]
        for less in range(len(features) + 1):
            for dropped in combinations(features, less):
                update: dict[str, bool] = dict.fromkeys(dropped, False)
                if "unsigned" in update:
                    update["stream"] = False
                yield self.model_copy(update=update)

    def __str__(self) -> str:
        """What is done without, for a person; empty where nothing is."""
        missing = [words for name, words in _WORDS.items() if not getattr(self, name)]
        return ", ".join(missing)


_WORDS = {
    "stream": "sending a clip while it arrives (it is sent from a file)",
    "conditional": "If-None-Match (the key is looked up before)",
    "checksum": "checksum headers (the MD5 is compared, or the object read back)",
    "md5": "Content-MD5",
    "checksum_mode": "asking for a stored checksum",
    "unsigned": "UNSIGNED-PAYLOAD (bodies are signed)",
}

_lock = threading.Lock()
_known: dict[tuple[str | None, str], Ways] = {}


def ways_at(settings: S3Settings) -> Ways:
    """What is known of a bucket; everything where nothing was refused yet."""
    return _known.get((settings.endpoint_url, settings.bucket), Ways())


def learn(settings: S3Settings, ways: Ways) -> None:
    """Keep what a bucket's server takes, for every request of this process from now on."""
    with _lock:
        _known[settings.endpoint_url, settings.bucket] = ways
