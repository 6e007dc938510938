"""A person's own certificate and private key, with which copies are signed. Neither is logged or leaves this process."""

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from resources.errors import ConfigurationError

_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
CERTIFICATE = "the certificate (--certificate or DAILIES_SIGN_CERTIFICATE)"
KEY = "the private key (--key or DAILIES_SIGN_KEY)"


@dataclass(frozen=True)
class SigningIdentity:
    """A certificate chain and its private key."""

    certificates: str
    """The signer's certificate first, then those above it, in PEM."""
    algorithm: str
    """C2PA's name, e.g. `es256`."""
    _key: PrivateKeyTypes

    def __repr__(self) -> str:
        """Without the key."""
        return f"SigningIdentity({self.algorithm})"

    def sign(self, data: bytes) -> bytes:
        """The signature of some bytes."""
        digests = {"es256": hashes.SHA256(), "es384": hashes.SHA384(), "es512": hashes.SHA512()}
        match self._key:
            case ec.EllipticCurvePrivateKey():
                return self._key.sign(data, ec.ECDSA(digests[self.algorithm]))
            case ed25519.Ed25519PrivateKey():
                return self._key.sign(data)
            case rsa.RSAPrivateKey():
                # C2PA's PS256: the salt is as long as the digest
                salted = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)
                return self._key.sign(data, salted, hashes.SHA256())
            case _:
                raise ConfigurationError(f"{KEY} is of a kind that C2PA does not support")


def read_identity(certificate: Path | None, key: Path | None) -> SigningIdentity:
    """Read a certificate chain and its private key.

    Raises:
        ConfigurationError: One of them is not named, cannot be read, or does not belong to the other.
    """
    chain, secret = _read(certificate, CERTIFICATE), _read(key, KEY)
    try:
        signer = x509.load_pem_x509_certificates(chain)[0]
    except (ValueError, IndexError):
        raise ConfigurationError(f"{CERTIFICATE} is not a file of certificates in PEM") from None
    try:
        private = load_pem_private_key(secret, password=None)
    except TypeError:
        raise ConfigurationError(f"{KEY} is encrypted; a key without a password is needed") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(f"{KEY} is not a private key in PEM") from None
    if signer.public_key() != private.public_key():
        raise ConfigurationError(
            f"{KEY} is not that of {CERTIFICATE}; the signer's own certificate comes first"
        )
    return SigningIdentity(chain.decode("ascii", "replace"), _algorithm(private), private)


def _algorithm(key: PrivateKeyTypes) -> str:

    match key:
        case ec.EllipticCurvePrivateKey() if key.curve.name in _CURVES:
            return _CURVES[key.curve.name]
        case ed25519.Ed25519PrivateKey():
            return "ed25519"
        case rsa.RSAPrivateKey():
            return "ps256"
        case _:
            raise ConfigurationError(
                f"{KEY} is of a kind that C2PA does not support: ECDSA, Ed25519 or RSA is needed"
            )


def _read(path: Path | None, what: str) -> bytes:
    if path is None:
        raise ConfigurationError(f"--sign needs {what}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {what}: {error.strerror}") from None
