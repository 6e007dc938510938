"""The files that requests name: files of the data folder, and first frames of drafts in the bucket."""

import contextlib
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from resources.catalogue.file_types import HEAD_BYTES, sniff
from resources.catalogue.files import DataFolder, LocalFile
from resources.declared.problems import Problem, ProblemsError
from resources.file_references import FileReference
from resources.storage.layout import FRAMES
from resources.storage.objects import ObjectStore


class RequestFiles:
    """Reads the files that requests name.

    Args:
        store: The bucket; None if no request may name an object in it.
        earlier: The data folders of requests from before the current one was pushed, read only if a file is no longer in the
            current one.
    """

    def __init__(
        self,
        folder: DataFolder,
        store: ObjectStore | None = None,
        earlier: Callable[[], Iterable[Path]] = tuple,
    ) -> None:
        self._folder = folder
        self._store = store
        self._earlier = earlier

    def read(self, reference: FileReference) -> tuple[LocalFile, bytes]:
        """Read a file, and check that it is unchanged since the request was made.

        Raises:
            ProblemsError: The file is gone or has changed, or a request may not name it.
            resources.errors.UnavailableError: The bucket does not answer.
        """
        if not reference.is_in_bucket:
            return self._read_local(reference)
        if self._store is None or not reference.path.startswith(FRAMES):
            raise _refused(reference, "is not a file that a request may name")
        data = self._store.get_bytes(reference.path)
        if data is None:
            raise _refused(reference, "is gone from the bucket; circle another take")
        is_a = sniff(data[:HEAD_BYTES])
        if is_a is None or hashlib.sha256(data).hexdigest() != reference.sha256:
            raise _refused(reference, "is not what was stored in the bucket; circle another take")
        return LocalFile(reference, len(data), is_a), data

    def _read_local(self, reference: FileReference) -> tuple[LocalFile, bytes]:
        try:
            return self._folder.read(reference)
        except ProblemsError:
            for folder in self._earlier():
                with contextlib.suppress(ProblemsError):
                    return DataFolder(folder).read(reference)
            raise


def _refused(reference: FileReference, message: str) -> ProblemsError:
    return ProblemsError([Problem("", message, reference.path)])
