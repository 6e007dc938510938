"""One store of trusted certificates for every client."""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from resources.errors import ConfigurationError
from resources.network import trust
from resources.network.trust import Source, TrustStore
from tests.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path)


def common_name(certificate: Mapping[str, Any]) -> str:
    return str(dict(field for (field,) in certificate["subject"]).get("commonName"))


def names(store: TrustStore) -> set[str]:
    """Common names of the authorities that a store's context trusts."""
    found = set()
    for certificate in store.context().get_ca_certs():
        found.add(common_name(certificate))
    return found


def in_file(store: TrustStore) -> set[str]:
    """The same from the file for boto3."""
    context = ssl.create_default_context(cafile=store.file())
    return {common_name(certificate) for certificate in context.get_ca_certs()}


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_a_file_replaces_the_systems_store(authority: Authority, variable: str) -> None:
    store = TrustStore.of({variable: str(authority.file)})
    assert names(store) == in_file(store) == {"Private authority"}
    assert str(store) == f"{authority.file} ({variable})"


def test_a_folder_needs_no_hashed_names(authority: Authority, tmp_path: Path) -> None:
    store = TrustStore.of({"SSL_CERT_DIR": str(tmp_path)})
    assert names(store) == in_file(store) == {"Private authority"}


def test_the_buckets_authority_is_added_to_the_systems(authority: Authority) -> None:
    store = TrustStore.of({"AWS_CA_BUNDLE": str(authority.file)})
    assert names(store) == names(TrustStore()) | {"Private authority"}
    assert in_file(store) == names(store)


def test_two_files_are_both_trusted(tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "other").mkdir()
    other = Authority.make(tmp_path / "other")
    store = TrustStore.of({"SSL_CERT_FILE": str(authority.file), "REQUESTS_CA_BUNDLE": str(other.file)})
    assert len(store.context().get_ca_certs()) == 2
    assert len(ssl.create_default_context(cafile=store.file()).get_ca_certs()) == 2


def test_without_a_variable_the_systems_store_is_used_or_certifis(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, authority: Authority
) -> None:
    monkeypatch.setattr(trust, "_SYSTEM", (str(tmp_path / "none"), str(authority.file)))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: _Paths(str(tmp_path / "neither")))
    trust.usual_store.cache_clear()
    assert trust.usual_store() == Source("the system", authority.file)
    monkeypatch.setattr(trust, "_SYSTEM", ())
    trust.usual_store.cache_clear()
    assert trust.usual_store().name == "certifi"
    trust.usual_store.cache_clear()


class _Paths:
    def __init__(self, file: str) -> None:
        self.openssl_cafile = file


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE"])
def test_a_missing_file_is_refused_with_a_clear_error(variable: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"{variable} names .*gone.*Nothing was bought"):
        TrustStore.of({variable: str(tmp_path / "gone.pem")})


def test_a_file_without_certificates_is_refused_with_a_clear_error(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing\n")
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n")
    with pytest.raises(ConfigurationError, match="holds no certificate"):
        TrustStore.of({"SSL_CERT_FILE": str(empty)})
    with pytest.raises(ConfigurationError, match="cannot be read"):
        TrustStore.of({"SSL_CERT_FILE": str(broken)})


def test_a_renewed_file_is_read_again(tmp_path: Path, authority: Authority) -> None:
    before = TrustStore.of({"SSL_CERT_FILE": str(authority.file)})
    assert before.context() is TrustStore.of({"SSL_CERT_FILE": str(authority.file)}).context()
    Authority.make(tmp_path)
    os.utime(authority.file, ns=(1, 1))
    after = TrustStore.of({"SSL_CERT_FILE": str(authority.file)})
    assert after.context().get_ca_certs() != before.context().get_ca_certs()
