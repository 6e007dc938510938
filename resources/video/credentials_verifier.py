"""Content credentials are verified, and copies marked and signed, in a guarded process: it reads strangers' bytes and has no key."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from resources.errors import ConfigurationError, DailiesError
from resources.video.credentials import ContentCredentials, unverifiable
from resources.video.facts import UnreadableVideoError
from resources.video.guarded_workers import GuardedWorkers, Sign


class MarkingError(DailiesError):
    """A copy cannot be marked or signed."""


@dataclass(frozen=True)
class ManifestOrder:
    """The content of a signed copy's manifest."""

    manifest: str
    """The manifest's definition in c2pa-rs' JSON."""
    ingredient: str
    """Its statement about the original file, in c2pa-rs' JSON."""
    certificates: str
    """The signer's certificate and those above it, in PEM."""
    algorithm: str
    """E.g. `es256`."""
    sign: Sign
    """Makes the signature, in this process: the private key never reaches a worker."""


def can_verify() -> bool:
    """Whether the library is installed; it has no wheel for some systems."""
    return importlib.util.find_spec("c2pa") is not None


def require_credentials() -> None:
    """Check that copies can be marked and signed.

    Raises:
        ConfigurationError: The library is not installed.
    """
    if not can_verify():
        raise ConfigurationError("this needs the package c2pa-python, which has no wheel for this system")


class CredentialsVerifier(GuardedWorkers):
    """Verifies, marks and signs files in one or several worker processes. Threads may share it."""

    def __init__(self, *, workers: int = 1) -> None:
        super().__init__("resources.video.credentials_worker", workers=workers)

    def verify(self, path: Path) -> ContentCredentials:
        """Verify a file's credentials. Credentials that make the worker fail count as invalid. Blocks: run it in a thread.

        Raises:
            resources.errors.UnavailableError: No worker can be started on this machine.
        """
        try:
            with path.open("rb") as file:
                answer = self.ask({"verify": True}, path.name, [file])
            if "error" in answer:
                return unverifiable(f"they cannot be read: {answer['error']}")
            return ContentCredentials.model_validate(answer.get("credentials"))
        except UnreadableVideoError as error:
            return unverifiable(str(error).removeprefix(f"{path.name}: "))
        except (ValidationError, OSError):
            return unverifiable("they cannot be read")

    def mark(self, source: Path, copy: Path, xmp: str) -> None:
        """Write a copy that carries XMP. Blocks: run it in a thread.

        Raises:
            MarkingError: The file has XMP or content credentials, or does not end with a whole box.
            OSError: The copy cannot be written.
        """
        self._copy(source, copy, source, {"mark": xmp})

    def sign(self, source: Path, copy: Path, ingredient: Path, order: ManifestOrder) -> None:
        """Write a copy with a new manifest. A manifest of the ingredient stays in the copy as it is. Blocks: run it in a thread.

        Args:
            ingredient: The file that it names as its source.

        Raises:
            MarkingError: The file cannot be signed with this certificate.
            OSError: The copy cannot be written.
        """
        request = {
            "manifest": order.manifest,
            "ingredient": order.ingredient,
            "certificates": order.certificates,
            "algorithm": order.algorithm,
        }
        self._copy(source, copy, ingredient, {"sign": request}, order.sign)

    def _copy(
        self, source: Path, copy: Path, ingredient: Path, request: dict[str, Any], sign: Sign | None = None
    ) -> None:
        try:
            with source.open("rb") as file, copy.open("w+b") as writer, ingredient.open("rb") as before:
                answer = self.ask(request, source.name, [file, writer, before], sign=sign)
        except UnreadableVideoError as error:
            raise MarkingError(str(error)) from None
        if "error" in answer:
            raise MarkingError(f"{source.name}: {str(answer['error'])[:300]}")
