"""The optional features of S3 that a server supports, as far as this process knows. dailies does without refused ones."""

import threading
from collections.abc import Iterator
from itertools import combinations

from pydantic import BaseModel, ConfigDict

from resources.storage.s3_client import Addressing, S3Settings


class Ways(BaseModel):
    """The features to store objects with at one server. Every feature is used until the server refuses it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    addressing: Addressing | None = None
    """The addressing style; None until a list of the bucket was read."""
    stream: bool = True
    """A clip is sent while it arrives. Otherwise it is sent from its file once it is whole."""
    conditional: bool = True
    """If-None-Match: the server never overwrites an object. Otherwise the key is looked up before the PUT."""
    checksum: bool = True
    """A header with the SHA-256, which some servers verify. Otherwise the MD5 is compared, or the object is read back."""
    md5: bool = True
    """Content-MD5, which servers verify on arrival. Otherwise the ETag is compared, or the object is read back."""
    checksum_mode: bool = True
    """A HEAD asks for the stored checksum."""
    unsigned: bool = True
    """Bodies are not signed. Otherwise they are read twice, and a clip is not sent while it arrives."""
    head: bool = True
    """A HEAD looks up an object. Otherwise a list is used."""
    list_v2: bool = True
    """ListObjectsV2. Otherwise the older ListObjects."""

    def lesser(self) -> Iterator["Ways"]:
        """These features, then without one optional feature of a PUT, without two, and so on."""
        features = [name for name in ("conditional", "checksum", "md5", "unsigned") if getattr(self, name)]
        for less in range(len(features) + 1):
            for dropped in combinations(features, less):
                update: dict[str, bool] = dict.fromkeys(dropped, False)
                if "unsigned" in update:
                    update["stream"] = False
                yield self.model_copy(update=update)

    def __str__(self) -> str:
        """The features that are not used, for a person; empty if all are."""
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
    """The features of a bucket that this process knows; all of them before a refusal."""
    return _known.get((settings.endpoint_url, settings.bucket), Ways())


def learn(settings: S3Settings, ways: Ways) -> None:
    """Record the features of a bucket's server, for all later requests of this process."""
    with _lock:
        _known[settings.endpoint_url, settings.bucket] = ways
