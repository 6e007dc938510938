"""The settings of Dagster's webserver: its address, the login at a proxy in front of it, and the users of its port."""

import re
from functools import cached_property
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator, model_validator

from resources.authorities import Authority, hosts
from resources.dagster_names import DagsterNames
from resources.peers import users
from resources.providers.account_variables import none_if_empty

_DAGSTER_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
_TOKEN = re.compile(r"[!-~]{1,8192}")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}:[ -~]{1,8192}")
_ENCRYPTED = re.compile(r"https://|http://(127\.0\.0\.1|\[::1\]|localhost)(:[0-9]+)?(/|$)")


class DagsterAccess(DagsterNames):
    """The way to Dagster, by the names of the environment variables."""

    dagster_url: str = Field(default="http://127.0.0.1:3000", validation_alias="DAILIES_DAGSTER_URL")
    """The address of Dagster's webserver."""
    dagster_token: Annotated[SecretStr | None, BeforeValidator(none_if_empty)] = Field(
        default=None, validation_alias="DAILIES_DAGSTER_TOKEN"
    )
    """A bearer token for the proxy before Dagster; it is sent to `DAILIES_DAGSTER_URL` alone."""
    dagster_header: Annotated[SecretStr | None, BeforeValidator(none_if_empty)] = Field(
        default=None, validation_alias="DAILIES_DAGSTER_HEADER"
    )
    """Another header that this proxy takes for a login, `Name: value`."""
    allowed_hosts_setting: str = Field(default="", validation_alias="DAILIES_ALLOWED_HOSTS")
    """Hosts by which a proxy before `dailies up` is reached, e.g. `dailies.example.com`."""
    allowed_users_setting: str = Field(default="", validation_alias="DAILIES_ALLOWED_USERS")
    """Users of this machine that may use Dagster's port besides your own, e.g. the proxy's."""

    @field_validator("dagster_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        return address_of_pages(value)

    @field_validator("dagster_token", "dagster_header")
    @classmethod
    def _check_header(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        form = _HEADER if info.field_name == "dagster_header" else _TOKEN
        if value is not None and not form.fullmatch(value.get_secret_value()):
            raise ValueError(
                "not a header such as X-Token: secret" if form is _HEADER else "not a token without spaces"
            )
        return value

    @model_validator(mode="after")
    def _sent_encrypted(self) -> Self:
        if self.dagster_headers and not _ENCRYPTED.match(self.dagster_url):
            raise ValueError("DAILIES_DAGSTER_URL must begin with https:// if a token or header is sent")
        return self

    @property
    def dagster_headers(self) -> dict[str, str]:
        """The login at the proxy before Dagster, as headers; secrets."""
        headers = {}
        if self.dagster_token is not None:
            headers["Authorization"] = f"Bearer {self.dagster_token.get_secret_value()}"
        if self.dagster_header is not None:
            name, _, value = self.dagster_header.get_secret_value().partition(":")
            headers[name] = value.strip()
        return headers

    @field_validator("allowed_hosts_setting")
    @classmethod
    def _hosts(cls, value: str) -> str:
        hosts(value)
        return value

    @field_validator("allowed_users_setting")
    @classmethod
    def _users(cls, value: str) -> str:
        users(value)
        return value

    @cached_property
    def allowed_hosts(self) -> frozenset[Authority]:
        """Hosts of a proxy before Dagster, in addition to this machine's own names."""
        return hosts(self.allowed_hosts_setting)

    @cached_property
    def allowed_users(self) -> frozenset[int]:
        """Ids of users of this machine that may use Dagster's port, in addition to oneself and root."""
        return users(self.allowed_users_setting)


def address_of_pages(value: str) -> str:
    """The same address of a webserver.

    Raises:
        ValueError: It has no scheme, or more than a path after the host.
    """
    if not _DAGSTER_URL.fullmatch(value):
        raise ValueError("not an address like http://127.0.0.1:3000 or https://dagster.example.com")
    return value
