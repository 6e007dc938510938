"""Which optional parts of S3 a server takes, as this process knows it. What a server refuses, dailies does without."""

import threading
from collections.abc import Iterator
from itertools import combinations

from pydantic import BaseModel, ConfigDict

from resources.storage.s3_client import Addressing, S3Settings


class Ways(BaseModel):
    """How objects are stored at one server. Everything is tried until the server refuses it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    addressing: Addressing | None = None
    """Where requests name the bucket; None until a list of the bucket was read."""
    stream: bool = True
    """A clip is sent while it arrives. Otherwise it is sent from its file once it is whole."""
    conditional: bool = True
    """If-None-Match: the server never overwrites an object, whoever else writes. Otherwise a look-up before the PUT has to do."""
    checksum: bool = True
    """A header with the SHA-256, which some servers verify. Otherwise the MD5 is compared, or the object is read back."""
    md5: bool = True
    """Content-MD5, which servers verify on arrival. Otherwise the ETag is compared, or the object is read back."""
    checksum_mode: bool = True
    """A HEAD asks for the stored checksum."""
    unsigned: bool = True
    """Bodies are not signed. Otherwise they are read twice, and a clip is not sent while it arrives."""
    head: bool = True
    """A HEAD looks up an object. Otherwise a list does."""
    list_v2: bool = True
    """ListObjectsV2. Otherwise the older ListObjects."""

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
    "head": "HEAD (objects are looked up in a list)",
    "list_v2": "ListObjectsV2 (the older list is read)",
}

_lock = threading.Lock()
_known: dict[tuple[str | None, str], Ways] = {}


def ways_at(settings: S3Settings) -> Ways:
    """What this process knows of a bucket; everything where nothing was refused yet."""
    return _known.get((settings.endpoint_url, settings.bucket), Ways())


def learn(settings: S3Settings, ways: Ways) -> None:
    """Keep what a bucket's server takes, for every request of this process from now on."""
    with _lock:
        _known[settings.endpoint_url, settings.bucket] = ways
