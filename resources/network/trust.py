"""The trusted certificate authorities: one store for every client.

A private authority that only some clients knew has cost money: a clip was bought through one client but could not be fetched
through the other.
"""

import atexit
import functools
import os
import re
import ssl
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import certifi

from resources.errors import ConfigurationError

REPLACING = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
"""Variables whose certificates replace the system's, as in other programs."""
ADDING = "AWS_CA_BUNDLE"
"""A variable whose certificates are added. If they replaced the others, a private S3 server would make the providers unreachable."""

_SYSTEM = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS, FreeBSD
)
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class Source:
    """A file, or a folder of files, with certificates."""

    name: str
    """The variable that names it, `the system` or `certifi`."""
    place: Path
    changed_ns: int = 0
    """When it was last changed, so that a renewed file is read again."""

    @classmethod
    def named(cls, variable: str, value: str) -> "Source":
        """The source that a variable names.

        Raises:
            ConfigurationError: It is missing, cannot be read, or has no certificate.
        """
        place = Path(value)
        try:
            source = cls(variable, place, place.stat().st_mtime_ns)
        except OSError as error:
            raise _unusable(cls(variable, place), f"cannot be read ({error.strerror})") from None
        problem = _problem_of(source.place, source.changed_ns)
        if problem is not None:
            raise _unusable(source, problem)
        return source

    @property
    def certificates(self) -> list[bytes]:
        """Each in PEM; a folder need not have OpenSSL's hashed names.

        Raises:
            ConfigurationError: They cannot be read.
        """
        try:
            files = (
                sorted(filter(Path.is_file, self.place.iterdir())) if self.place.is_dir() else [self.place]
            )
            return [found for file in files for found in _CERTIFICATE.findall(file.read_bytes())]
        except OSError as error:
            raise _unusable(self, f"cannot be read ({error.strerror})") from None

    def __str__(self) -> str:
        return (
            "certifi's, as the system has none" if self.name == "certifi" else f"{self.place} ({self.name})"
        )


@dataclass(frozen=True)
class TrustStore:
    """The sources of certificates: the system's, else certifi's, unless variables name others."""

    named: tuple[Source, ...] = ()

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "TrustStore":
        """Read the variables of an environment.

        Raises:
            ConfigurationError: One of them names a missing file, or one without a certificate.
        """
        return cls(
            tuple(
                Source.named(variable, value)
                for variable in (*REPLACING, ADDING)
                for value in _places(variable, environment.get(variable, "").strip())
            )
        )

    @property
    def sources(self) -> tuple[Source, ...]:
        """All trusted sources."""
        replaced = any(source.name in REPLACING for source in self.named)
        return self.named if replaced else (usual_store(), *self.named)

    def context(self) -> ssl.SSLContext:
        """The TLS context of every client, cached since reading a store takes tens of milliseconds."""
        return _context(self)

    def file(self) -> str:
        """One file with all certificates, for a client that accepts only a file (boto3)."""
        if len(self.sources) == 1 and self.sources[0].place.is_file():
            return str(self.sources[0].place)
        return _file(self, os.getpid())

    def __str__(self) -> str:
        return ", ".join(map(str, self.sources))


@functools.cache
def usual_store() -> Source:
    """The store without variables: the system's, or certifi's if the system has none."""
    openssl = ssl.get_default_verify_paths().openssl_cafile
    for place in (openssl, *_SYSTEM):
        with suppress(OSError):
            if _CERTIFICATE.search(Path(place).read_bytes()):
                return Source("the system", Path(place))
    return Source("certifi", Path(certifi.where()))


@functools.cache
def _context(store: TrustStore) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=_pem(store))
    # Python 3.13 refuses authorities that lack a field of RFC 5280, as some private ones do, which other programs accept
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


@functools.cache
def _problem_of(place: Path, changed_ns: int) -> str | None:
    """Why the certificates of a file or folder cannot be used; None if they can. The result is cached.

    A step reads its settings about thirty times. Reading 145 certificates by four variables took 67 ms each time, a quarter of a
    small run's CPU time, and OpenSSL needs up to 0.2 s for them.
    """
    try:
        certificates = Source("", place, changed_ns).certificates
    except ConfigurationError as error:
        raise error from None
    if not certificates:
        return "holds no certificate (PEM, BEGIN CERTIFICATE)"
    try:
        ssl.create_default_context(cadata=b"\n".join(certificates).decode("ascii", "replace"))
    except ssl.SSLError:
        return "holds a certificate that cannot be read"
    return None


@functools.cache
def _file(store: TrustStore, process: int) -> str:
    handle, path = tempfile.mkstemp(prefix="dailies-certificates-", suffix=".pem")
    with os.fdopen(handle, "w") as file:
        file.write(_pem(store))

    def remove() -> None:
        if os.getpid() == process:  # not in a forked child, which ends before its parent
            Path(path).unlink(missing_ok=True)

    atexit.register(remove)
    return path


def _pem(store: TrustStore) -> str:
    certificates = [certificate for source in store.sources for certificate in source.certificates]
    return "".join(
        f"{certificate.decode('ascii', 'replace')}\n" for certificate in dict.fromkeys(certificates)
    )


def _places(variable: str, value: str) -> list[str]:
    # OpenSSL takes several folders in one variable
    places = value.split(os.pathsep) if variable == "SSL_CERT_DIR" else [value]
    return [place for place in places if place]


def _unusable(source: Source, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{source.name} names {source.place}, which {why}: no server can be believed by it. Correct it, or take it out to "
        "trust the system's certificates. Nothing was bought."
    )


def is_untrusted(error: BaseException) -> bool:
    """Whether a certificate was refused, somewhere below an error of botocore or httpx."""
    errors: list[object] = [error]
    for one in errors:
        if isinstance(one, ssl.SSLCertVerificationError):
            return True
        if isinstance(one, BaseException) and len(errors) < 20:
            inner = (one.__cause__, one.__context__, getattr(one, "kwargs", {}).get("error"), *one.args)
            errors += [found for found in inner if isinstance(found, BaseException)]
    return False
