"""All settings, and the values that follow from several of them."""

import os
import re
import zoneinfo
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    field_validator,
)

from resources.alarms import Format
from resources.errors import ConfigurationError
from resources.home import room_address
from resources.ledger.budget import BAND, MOST_PER_CLIP, Budget
from resources.ledger.policy_settings import ALL, Policy, Setting, Value, host_policy
from resources.log_lines import LogFormat
from resources.money import Micros, to_usd, usd
from resources.orders import Caps
from resources.providers.account_variables import (
    Cap,
    none_if_empty,
)
from resources.providers.registry import provider_names
from resources.settings.bucket import BucketSettings
from resources.settings.dagster_access import DagsterAccess, address_of_pages
from resources.settings.known_accounts import KnownAccounts
from resources.storage.download_policy import DownloadPolicy
from resources.variables import FOLLOWS_POLICY

MIN_KEPT_DAYS = 30
"""The shortest retention, in days: for this time the inventory expects each delivered clip to be green in Dagster."""
KeptDays = Annotated[Annotated[int, Field(ge=MIN_KEPT_DAYS)] | None, BeforeValidator(none_if_empty)]
"""Days that Dagster keeps records; empty is for ever."""

_WEBHOOK_URL = re.compile(
    r"(https://[^\s/?#@]+|http://(127\.0\.0\.1|\[::1\]|localhost)(:[0-9]+)?)(/[^\s?#]*[^\s?#/])?"
)
_ALARM_URL = re.compile(r"(https://[^\s@]+|http://(127\.0\.0\.1|\[::1\]|localhost)(:[0-9]+)?(/\S*)?)")


class Settings(KnownAccounts, DagsterAccess, BucketSettings):
    """The settings, by the names of their environment variables.

    Attributes:
        ledger_url: Database of the ledger; a SQLite file in `home` unless set.
        allowed_origins: Origins such as `http://127.0.0.1:8788` that clips may be fetched from although they are not on
            the internet; the sandbox is one.
    """

    home: Path = Field(default=Path(".dailies"), validation_alias="DAILIES_HOME")
    """Folder of everything local: the ledger, Dagster's storage, the embedded S3, temporary files."""
    # it may contain a password
    ledger_url_setting: str | None = Field(default=None, repr=False, validation_alias="DAILIES_LEDGER_URL")
    """The ledger's database, e.g. `postgresql://user:password@host/dailies`; unset, a SQLite file in the home."""
    room_url_setting: str | None = Field(default=None, validation_alias="DAILIES_ROOM_URL")
    """The address at which people open the room, for alarms and Dagster's pages; unset, that of `dailies up`."""
    keep_runs_days: KeptDays = Field(default=90, validation_alias="DAILIES_KEEP_RUNS_DAYS")
    """Days after which Dagster forgets the runs of delivered clips; empty keeps them."""
    keep_partitions_days: KeptDays = Field(default=180, validation_alias="DAILIES_KEEP_PARTITIONS_DAYS")
    """Days after which Dagster forgets the partitions of delivered clips, never before their runs; empty keeps them."""

    ledger_backups: bool = Field(default=True, validation_alias="DAILIES_LEDGER_BACKUPS")
    """Whether the ledger is copied into the bucket every day, and the copy verified."""
    keep_backups_days: Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(none_if_empty)] = Field(
        default=30, validation_alias="DAILIES_KEEP_BACKUPS_DAYS"
    )
    """Days after which such a copy is removed, never the newest three; empty keeps all."""
    backup_url: Annotated[SecretStr | None, BeforeValidator(none_if_empty)] = Field(
        default=None, validation_alias="DAILIES_BACKUP_URL"
    )
    """The address at which PostgreSQL's programs reach the ledger: past a pooler, as a user that may create databases; unset, the
    ledger's own."""

    room_user_header: Annotated[
        Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")] | None, BeforeValidator(none_if_empty)
    ] = Field(default=None, validation_alias="DAILIES_ROOM_USER_HEADER")
    """The header in which the proxy before the room names its user, e.g. `X-Forwarded-User`; unset, there is no proxy."""

    sign_certificate: Annotated[Path | None, BeforeValidator(none_if_empty)] = Field(
        default=None, validation_alias="DAILIES_SIGN_CERTIFICATE"
    )
    """The file with the certificates of `dailies fetch --sign`, the signer's first, in PEM."""
    sign_key: Annotated[Path | None, BeforeValidator(none_if_empty)] = Field(
        default=None, repr=False, validation_alias="DAILIES_SIGN_KEY"
    )
    """The file with its private key, in PEM and without a password."""

    webhook_url: str | None = Field(default=None, validation_alias="DAILIES_WEBHOOK_URL")
    """The https address of the receiver of `dailies webhooks`; unset, there are no callbacks."""
    alarm_url: Annotated[SecretStr | None, BeforeValidator(none_if_empty)] = Field(
        default=None, validation_alias="DAILIES_ALARM_URL"
    )
    """The webhook address for alarms, a secret; unset, no alarm is sent."""
    alarm_format: Format = Field(default="auto", validation_alias="DAILIES_ALARM_FORMAT")
    """`slack`, `json`, or `auto` to decide by the address."""
    log_format: LogFormat = Field(default="text", validation_alias="DAILIES_LOG_FORMAT")
    """The form of log lines: `text`, or `json` for one JSON object a line."""
    allowed_origins_setting: str = Field(default="", validation_alias="DAILIES_ALLOWED_ORIGINS")
    """Origins that clips may be fetched from although they are not on the internet, e.g. `http://127.0.0.1:8788`."""
    timezone: str = Field(default="UTC", validation_alias="DAILIES_TIMEZONE")
    """The time zone in which days and months begin, by its IANA name."""
    max_usd_per_clip: Cap = Field(default=to_usd(MOST_PER_CLIP), validation_alias="DAILIES_MAX_USD_PER_CLIP")
    """Most US dollars for one clip, so that a quote in another unit is not bought. The next caps are in US dollars too."""
    max_request_factor: float = Field(default=1, ge=1, le=BAND, validation_alias="DAILIES_MAX_REQUEST_FACTOR")
    """The multiple of its quote that one request may be charged before its account is stopped."""
    max_hour_factor: float = Field(default=2, ge=1, le=1000, validation_alias="DAILIES_MAX_HOUR_FACTOR")
    """The multiple of the ordered amount that an account may be charged within an hour before it is stopped."""
    max_usd_per_run: Cap = Field(default=None, validation_alias="DAILIES_MAX_USD_PER_RUN")
    """Cap of one run, with its retries."""
    max_usd_per_day: Cap = Field(default=None, validation_alias="DAILIES_MAX_USD_PER_DAY")
    """Cap per day, over all series and accounts."""
    max_usd_per_month: Cap = Field(default=None, validation_alias="DAILIES_MAX_USD_PER_MONTH")
    """Cap per month, over all series and accounts."""
    max_download_mb: int = Field(default=2048, ge=1, le=5000, validation_alias="DAILIES_MAX_DOWNLOAD_MB")
    """The largest clip that is fetched, in megabytes; S3 takes 5 GB in one request (S3 docs: PutObject)."""
    linger_seconds: float = Field(default=120, ge=0, validation_alias="DAILIES_LINGER_SECONDS")
    """How long finished clips of a batch wait for its stragglers before they are fetched."""

    @field_validator("room_url_setting")
    @classmethod
    def _check_room_url(cls, value: str | None) -> str | None:
        return value if value is None else address_of_pages(value)

    @field_validator("alarm_url")
    @classmethod
    def _sent_in_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _ALARM_URL.fullmatch(value.get_secret_value()):
            raise ValueError("not an https address (http only on this machine)")
        return value

    @field_validator("webhook_url")
    @classmethod
    def _reached_from_outside(cls, value: str | None) -> str | None:
        if value is not None and not _WEBHOOK_URL.fullmatch(value):
            raise ValueError(
                "not an address like https://dailies.example.com/hooks (http only on this machine), without ? and # and without a "
                "slash at its end"
            )
        return value

    @field_validator("allowed_origins_setting")
    @classmethod
    def _origins(cls, value: str) -> str:
        try:
            DownloadPolicy(allowed_origins=_listed(value))
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        try:
            zoneinfo.ZoneInfo(value)
        except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
            raise ValueError("not a time zone of the IANA database, such as Europe/Berlin") from None
        return value

    @property
    def budget(self) -> Budget:
        """The caps besides those of each series, with those of the accounts as they are declared now."""
        accounts = {name: self.given(name).caps for name in self.account_names}
        everything = Caps(
            per_run=_micros(self.max_usd_per_run),
            per_day=_micros(self.max_usd_per_day),
            per_month=_micros(self.max_usd_per_month),
        )
        return Budget(
            self.timezone,
            everything,
            accounts,
            _micros(self.max_usd_per_clip),
            request_factor=self.max_request_factor,
            hour_factor=self.max_hour_factor,
        )

    @property
    def policy(self) -> Policy:
        """The caps, limits and settle times of this host: those set by its variables and the files of its accounts.

        The processes of a `dailies up` that has put its variables in force leave them to the ledger from then on.
        """
        policy: dict[Setting, Value] = {}
        if FOLLOWS_POLICY not in os.environ:
            policy |= host_policy(ALL, self.model_dump(include=self.model_fields_set))
            for name in provider_names():
                account = self.given(name)
                policy |= host_policy(name, account.model_dump(include=account.model_fields_set))
        for name, declared in self.declared_accounts.found.items():
            policy |= host_policy(name, declared.model_dump(include=declared.model_fields_set))
        return policy

    @property
    def room_url(self) -> str:
        """The address of the room."""
        return self.room_url_setting or room_address(self.home)

    @cached_property
    def ledger_url(self) -> str:
        """Database of the ledger."""
        return self.ledger_url_setting or f"sqlite:///{(self.home / 'ledger.db').absolute()}"

    @property
    def copied_url(self) -> str:
        """The address at which the ledger is copied."""
        return self.ledger_url if self.backup_url is None else self.backup_url.get_secret_value()

    @cached_property
    def allowed_origins(self) -> frozenset[str]:
        """Origins outside the internet that clips may be fetched from."""
        return _listed(self.allowed_origins_setting)

    @property
    def download_policy(self) -> DownloadPolicy:
        """The policy of downloads: allowed origins and the largest clip.

        Raises:
            ConfigurationError: An origin is invalid.
        """
        return DownloadPolicy(
            allowed_origins=self.allowed_origins,
            network=self.network,
            max_bytes=self.max_download_mb * 1_000_000,
        )


def _listed(setting: str) -> frozenset[str]:
    return frozenset(part.strip().rstrip("/") for part in setting.split(",") if part.strip())


def _micros(amount: Decimal | None) -> Micros | None:
    return None if amount is None else usd(amount)
