"""Certificates of servers on this machine, self-signed or signed by an authority that only the tests know."""

import datetime as dt
import ipaddress
import secrets
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, each in a file."""

    file: Path
    """The certificate."""
    key: Path
    """Its private key."""

    def server(self) -> ssl.SSLContext:
        """The TLS context of a server with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file, self.key)
        return context


@dataclass(frozen=True)
class Authority(Certificate):
    """A private authority."""

    folder: Path
    private_key: ec.EllipticCurvePrivateKey
    name: x509.Name

    @classmethod
    def make(cls, folder: Path) -> "Authority":
        """Make an authority, with its certificate in `folder`."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Private authority")])
        made = cls(folder / "authority.pem", folder / "authority-key.pem", folder, key, name)
        basic = x509.BasicConstraints(ca=True, path_length=None)
        _write(made, _unsigned(name, name, key).add_extension(basic, critical=True), key, key)
        return made

    def issue(self, host: str) -> Certificate:
        """Issue a certificate for a host, a name or an address."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
        place = secrets.token_hex(4)
        made = Certificate(self.folder / f"{place}.pem", self.folder / f"{place}-key.pem")
        names = x509.SubjectAlternativeName([_named(host)])
        unsigned = _unsigned(name, self.name, key).add_extension(names, critical=False)
        _write(made, unsigned, key, self.private_key)
        return made


def signer(folder: Path, key: PrivateKeyTypes | None = None, organization: str = "Bay Films") -> Certificate:
    """A certificate for content credentials, followed by its authority's certificate in the same file."""
    above = ec.generate_private_key(ec.SECP256R1())
    private = key or ec.generate_private_key(ec.SECP256R1())

    def named(common: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, organization),
                x509.NameAttribute(x509.NameOID.COMMON_NAME, common),
            ]
        )

    def made(name: str, public: Any, *, authority: bool) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        usage = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(named(name))
            .issuer_name(named("Authority"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, **usage
                ),
                critical=True,
            )
        )
        if authority:
            identifier = x509.SubjectKeyIdentifier.from_public_key(public)
            return builder.add_extension(identifier, critical=False).sign(above, hashes.SHA256())
        mail = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.EMAIL_PROTECTION])
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(above.public_key())
        builder = builder.add_extension(mail, critical=False).add_extension(issuer, critical=False)
        return builder.sign(above, hashes.SHA256())

    chain = (
        made("Signer", private.public_key(), authority=False),
        made("Authority", above.public_key(), authority=True),
    )
    place = secrets.token_hex(4)
    found = Certificate(folder / f"{place}-chain.pem", folder / f"{place}-secret.pem")
    found.file.write_bytes(b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain))
    found.key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return found


def self_signed(folder: Path, host: str) -> Certificate:
    """Make a certificate for a host, a name or an address, valid from yesterday to tomorrow; an existing file is kept."""
    found = Certificate(folder / "certificate.pem", folder / "key.pem")
    if found.file.exists():
        return found
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    unsigned = (
        _unsigned(name, name, key)
        .add_extension(x509.SubjectAlternativeName([_named(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    _write(found, unsigned, key, key)
    return found


def _unsigned(name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
    )


def _write(
    place: Certificate,
    unsigned: x509.CertificateBuilder,
    key: ec.EllipticCurvePrivateKey,
    signing: ec.EllipticCurvePrivateKey,
) -> None:
    pem = serialization.Encoding.PEM
    place.key.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    place.file.write_bytes(unsigned.sign(signing, hashes.SHA256()).public_bytes(pem))


def _named(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
