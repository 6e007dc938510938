"""All settings of dailies, read from the environment and from `.env`, and validated once. Secrets are never shown.

Every setting has a default that works on one machine, except the providers' keys and the bucket: nothing can be bought without
them, and `dailies up` brings stand-ins for both.
"""

import functools
import json
import os
import re
import zoneinfo
from collections.abc import Collection, Mapping
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from dotenv import dotenv_values
from pydantic import (
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from resources.alarms import Format
from resources.dagster_names import DagsterNames
from resources.declared.validation import allowed_by
from resources.errors import ConfigurationError
from resources.guard import Authority, hosts
from resources.home import room_address
from resources.ledger.budget import BAND, MOST_PER_CLIP, Budget
from resources.ledger.policy_settings import ALL, Policy, Setting, Value, said
from resources.money import Micros, to_usd, usd
from resources.network.way_out import Network, is_variable
from resources.orders import Caps
from resources.peers import users
from resources.providers.account_files import DeclaredAccounts, load_accounts
from resources.providers.account_variables import (
    AccountVariables,
    Cap,
    known_variables,
    none_if_empty,
    sandbox_admin_key,
    sandbox_variables,
    variables_of,
)
from resources.providers.accounts import AccountSettings
from resources.providers.registry import provider_names, spec_of
from resources.storage.policy import DownloadPolicy
from resources.storage.s3_client import S3Settings
from resources.variables import ENV_FILE, FOLLOWS_POLICY, PINNED, merged, names_in, refuse_misspelt

if TYPE_CHECKING:
    from resources.ledger.ledger import Ledger

BUCKET = Path("bucket")
"""As `DAILIES_DATA`: the data folder that was pushed, not one of this host."""
POINTER = Path("data", "current")
"""The file in the home that names the pushed folder which this host has read last; the folders lie beside it."""
CANNOT_EDIT = (
    "this host reads the data folder of the bucket (DAILIES_DATA=bucket), which nobody edits. Nothing was changed. Edit the "
    "folder where it is kept; `dailies data push` there makes it current on every host."
)
MIN_KEPT_DAYS = 30
"""The shortest retention: for so long the inventory expects each delivered clip to be green in Dagster."""
KeptDays = Annotated[Annotated[int, Field(ge=MIN_KEPT_DAYS)] | None, BeforeValidator(none_if_empty)]
"""How long Dagster keeps something; empty is for ever."""

_DAGSTER_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
_TOKEN = re.compile(r"[!-~]{1,8192}")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}:[ -~]{1,8192}")
_ENCRYPTED = re.compile(r"https://|http://(127\.0\.0\.1|\[::1\]|localhost)(:[0-9]+)?(/|$)")
_WEBHOOK_URL = re.compile(
    r"(https://[^\s/?#@]+|http://(127\.0\.0\.1|\[::1\]|localhost)(:[0-9]+)?)(/[^\s?#]*[^\s?#/])?"
)
_ALARM_URL = re.compile(r"(https://[^\s@]+|http://(127\.0\.0\.1|\[::1\]|localhost)(:[0-9]+)?(/\S*)?)")


class Settings(DagsterNames):
    """The settings, by the names of their environment variables.

    Attributes:
        ledger_url: Database of the ledger; a SQLite file in `home` unless set.
        allowed_origins: Origins such as `http://127.0.0.1:8788` that clips may be fetched from although they are not on
            the internet; the sandbox is one.
    """

    home: Path = Field(default=Path(".dailies"), validation_alias="DAILIES_HOME")
    """Folder of everything local: the ledger, Dagster's storage, the embedded S3, temporary files."""
    data: Path = Field(default=Path("data"), validation_alias="DAILIES_DATA")
    """Folder of the declarations: `series/`, `models/`, `images/`, `characters/`; or `bucket` for the one that `dailies data push` has
    made current."""
    # it may contain a password
    ledger_url_setting: str | None = Field(default=None, repr=False, validation_alias="DAILIES_LEDGER_URL")
    """The ledger's database, e.g. `postgresql://user:password@host/dailies`; unset, a SQLite file in the home."""
    room_url_setting: str | None = Field(default=None, validation_alias="DAILIES_ROOM_URL")
    """The address at which people open the room, for alarms and Dagster's pages; unset, that of `dailies up`."""
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
    """Users of this machine that may use Dagster's port besides one's own, e.g. the proxy's."""

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

    s3_endpoint: Annotated[str | None, BeforeValidator(none_if_empty)] = Field(
        default=None, validation_alias="DAILIES_S3_ENDPOINT"
    )
    """Address of an S3-compatible server; unset is AWS."""
    s3_bucket: str | None = Field(default=None, validation_alias="DAILIES_S3_BUCKET")
    """Name of the bucket."""
    s3_region: str = Field(default="us-east-1", validation_alias="AWS_REGION")
    """Its region."""
    s3_addressing: Literal["auto", "path", "virtual"] = Field(
        default="auto", validation_alias="DAILIES_S3_ADDRESSING"
    )
    """Whether requests name the bucket in the path or in the host's name; `auto` finds it out."""
    s3_access_key_id: str | None = Field(default=None, validation_alias="AWS_ACCESS_KEY_ID")
    """The bucket's key; unset, boto3's own chain is used (profile, instance role)."""
    s3_secret_access_key: SecretStr | None = Field(default=None, validation_alias="AWS_SECRET_ACCESS_KEY")
    """Its secret."""
    s3_session_token: SecretStr | None = Field(default=None, validation_alias="AWS_SESSION_TOKEN")
    """The token of a key that is lent for some hours."""

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
    allowed_origins_setting: str = Field(default="", validation_alias="DAILIES_ALLOWED_ORIGINS")
    """Origins that clips may be fetched from although they are not on the internet, e.g. `http://127.0.0.1:8788`."""
    timezone: str = Field(default="UTC", validation_alias="DAILIES_TIMEZONE")
    """The time zone in which days and months begin, by its IANA name."""
    max_usd_per_clip: Cap = Field(default=to_usd(MOST_PER_CLIP), validation_alias="DAILIES_MAX_USD_PER_CLIP")
    """Most US dollars for one clip, so that a quote in another unit is not bought. The next caps are in US dollars too."""
    max_request_factor: float = Field(default=1, ge=1, le=BAND, validation_alias="DAILIES_MAX_REQUEST_FACTOR")
    """How many times its quote one request may be charged before its account is stopped."""
    max_hour_factor: float = Field(default=2, ge=1, le=1000, validation_alias="DAILIES_MAX_HOUR_FACTOR")
    """How many times what was ordered an account may be charged within an hour before it is stopped."""
    max_usd_per_run: Cap = Field(default=None, validation_alias="DAILIES_MAX_USD_PER_RUN")
    """Cap of one run, with its retries."""
    max_usd_per_day: Cap = Field(default=None, validation_alias="DAILIES_MAX_USD_PER_DAY")
    """Cap per day, over all series and accounts."""
    max_usd_per_month: Cap = Field(default=None, validation_alias="DAILIES_MAX_USD_PER_MONTH")
    """Cap per month, over all series and accounts."""
    _network: Network = PrivateAttr(default_factory=Network)
    _variables: Mapping[str, str] = PrivateAttr(default_factory=lambda: merged(os.environ))

    max_download_mb: int = Field(default=2048, ge=1, le=5000, validation_alias="DAILIES_MAX_DOWNLOAD_MB")
    """The largest clip that is fetched, in megabytes; S3 takes 5 GB in one request (S3 docs: PutObject)."""
    linger_seconds: float = Field(default=120, ge=0, validation_alias="DAILIES_LINGER_SECONDS")
    """How long finished clips of a batch wait for its stragglers before they are fetched."""

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

    @field_validator("dagster_token", "dagster_header")
    @classmethod
    def _of_one_header(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        form = _HEADER if info.field_name == "dagster_header" else _TOKEN
        if value is not None and not form.fullmatch(value.get_secret_value()):
            raise ValueError(
                "not a header such as X-Token: secret" if form is _HEADER else "not a token without spaces"
            )
        return value

    @model_validator(mode="after")
    def _sent_encrypted(self) -> Self:
        if self.dagster_headers and not _ENCRYPTED.match(self.dagster_url):
            raise ValueError("DAILIES_DAGSTER_URL must begin with https:// where a token or header is sent")
        return self

    @property
    def dagster_headers(self) -> dict[str, str]:
        """The login at the proxy before Dagster, as headers; secrets."""
        found = {}
        if self.dagster_token is not None:
            found["Authorization"] = f"Bearer {self.dagster_token.get_secret_value()}"
        if self.dagster_header is not None:
            name, _, value = self.dagster_header.get_secret_value().partition(":")
            found[name] = value.strip()
        return found

    @field_validator("dagster_url", "room_url_setting")
    @classmethod
    def _of_a_webserver(cls, value: str | None) -> str | None:
        if value is not None and not _DAGSTER_URL.fullmatch(value):
            raise ValueError("not an address like http://127.0.0.1:3000 or https://dagster.example.com")
        return value

    @field_validator("allowed_hosts_setting")
    @classmethod
    def _hosts(cls, value: str) -> str:
        hosts(value)
        return value

    @field_validator("allowed_origins_setting")
    @classmethod
    def _origins(cls, value: str) -> str:
        try:
            DownloadPolicy(allowed_origins=_listed(value))
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("allowed_users_setting")
    @classmethod
    def _users(cls, value: str) -> str:
        users(value)
        return value

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        try:
            zoneinfo.ZoneInfo(value)
        except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
            raise ValueError("not a time zone of the IANA database, such as Europe/Berlin") from None
        return value

    def through(self, network: Network, variables: Mapping[str, str]) -> "Settings":
        """These settings, with a way out and with the variables of the accounts, by name in upper case."""
        self._network = network
        self._variables = variables
        return self

    def reading(self, data: Path) -> "Settings":
        """These settings with another data folder."""
        return self.model_copy(update={"data": data})

    @property
    def reads_bucket(self) -> bool:
        """Whether this host has no data folder of its own and reads the one that was pushed."""
        return self._variables.get("DAILIES_DATA") == str(BUCKET)

    @property
    def own_data(self) -> Path:
        """The data folder, to be changed.

        Raises:
            ConfigurationError: This host reads the bucket's, which nobody can change.
        """
        if self.reads_bucket:
            raise ConfigurationError(CANNOT_EDIT)
        return self.data

    def at_sandbox(self, url: str, key: str) -> "Settings":
        """These settings with a sandbox in the place of every provider."""
        changed = self.model_copy(update={"allowed_origins_setting": url})
        return changed.through(self.network, {**self._variables, **self.sandbox_variables(url, key)})

    def sandbox_variables(self, url: str, key: str) -> dict[str, str]:
        """The variables that put a sandbox in the place of every provider; each declared account gets a key of its own."""
        declared = self.declared_accounts.found.values()
        found = sandbox_variables(url, key) | {one.key: f"{key}.{one.name}" for one in declared}
        admin = {one.admin_key: sandbox_admin_key(f"{key}.{one.name}") for one in declared if one.admin_key}
        return {**found, **admin}

    @property
    def account_names(self) -> tuple[str, ...]:
        """All accounts, whether they have a key or not; each has its completion sensor."""
        return (*provider_names(), *self.declared_accounts.found)

    @property
    def declared_accounts(self) -> DeclaredAccounts:
        """The accounts of the data folder's files as they are now."""
        return load_accounts(self.data)

    @property
    def accounts_with_key(self) -> list[AccountSettings]:
        """The accounts that can be used."""
        return [account for account in map(self.account, self.account_names) if account.api_key is not None]

    def key_variables(self, provider: str | None = None) -> str:
        """The variables of the accounts' keys, of all accounts or of one provider's, for a sentence."""
        found = [self.account(name) for name in self.account_names]
        return " or ".join(one.key_variable for one in found if provider in {None, one.provider})

    @property
    def network(self) -> Network:
        """The way out of every client: proxies, and the certificates that are believed."""
        return self._network

    @property
    def budget(self) -> Budget:
        """The caps besides those of each series, with those of the accounts as they are declared now."""
        accounts = {name: self._given(name).caps for name in self.account_names}
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
        """What this host says of caps, limits and settle times: what its variables and the files of its accounts set.

        The processes of a `dailies up` that has put its variables in force leave them to the ledger from then on.
        """
        found: dict[Setting, Value] = {}
        if FOLLOWS_POLICY not in os.environ:
            found |= said(ALL, self.model_dump(include=self.model_fields_set))
            for name in provider_names():
                given = self._given(name)
                found |= said(name, given.model_dump(include=given.model_fields_set))
        for name, declared in self.declared_accounts.found.items():
            found |= said(name, declared.model_dump(include=declared.model_fields_set))
        return found

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
        """What clips may be fetched from where, and how large.

        Raises:
            ConfigurationError: An origin is invalid.
        """
        return DownloadPolicy(
            allowed_origins=self.allowed_origins,
            network=self.network,
            max_bytes=self.max_download_mb * 1_000_000,
        )

    @cached_property
    def allowed_hosts(self) -> frozenset[Authority]:
        """Hosts of a proxy before Dagster, in addition to this machine's own names."""
        return hosts(self.allowed_hosts_setting)

    @cached_property
    def allowed_users(self) -> frozenset[int]:
        """Ids of users of this machine that may use Dagster's port, in addition to oneself and root."""
        return users(self.allowed_users_setting)

    def s3(self) -> S3Settings:
        """The settings of the bucket.

        Raises:
            ConfigurationError: No bucket is named, or a setting is invalid.
        """
        if not self.s3_bucket:
            raise ConfigurationError(
                "no bucket is set: set DAILIES_S3_BUCKET (and DAILIES_S3_ENDPOINT for a server that is not AWS), "
                "or run `dailies up`, which brings an S3 server of its own."
            )
        try:
            return S3Settings(
                bucket=self.s3_bucket,
                endpoint_url=self.s3_endpoint,
                region=self.s3_region,
                addressing=self.s3_addressing,
                access_key_id=self.s3_access_key_id,
                secret_access_key=self.s3_secret_access_key,
                session_token=self.s3_session_token,
                network=self.network,
            )
        except ValidationError as error:
            raise ConfigurationError(f"Invalid S3 settings: {_in_words(error, _S3_VARIABLES)}") from None

    def account(self, name: str) -> AccountSettings:
        """The settings of one account.

        Raises:
            ConfigurationError: There is no such account, or its address is invalid.
        """
        if name not in self.account_names:
            raise ConfigurationError(
                f"there is no account {name!r}; allowed: {', '.join(self.account_names)}"
            )
        given, declared = self._given(name), self.declared_accounts.found.get(name)
        spec = spec_of(name if declared is None else declared.provider)
        try:
            return AccountSettings(
                name=name,
                provider=spec.name,
                key_variable=self._key_variable(name),
                dedicated_by=spec.variable("dedicated")
                if declared is None
                else f"dedicated of data/accounts: {name}",
                base_url=given.url,
                api_key=given.api_key,
                admin_key=given.admin_key,
                max_in_flight=given.max_in_flight,
                submits_per_minute=given.submits_per_minute,
                dedicated=given.dedicated,
                settle_seconds=given.settle_seconds,
                unusable=self._same_key(name),
                network=self.network,
            )
        except ValidationError as error:
            raise ConfigurationError(
                f"Invalid settings of the account {name!r}: {_in_words(error)}"
            ) from None

    def _given(self, name: str) -> AccountVariables:
        declared = self.declared_accounts.found.get(name)
        spec = spec_of(name if declared is None else declared.provider)
        try:
            if declared is not None:
                return declared.settings(self._variables)
            return AccountVariables.read(spec, self._variables)
        except ValidationError as error:
            raise ConfigurationError(
                f"Invalid setting: {_in_words(error, variables_of(spec))}. See .env.example."
            ) from None

    def check_accounts(self) -> None:
        """Check the variables of all accounts.

        Raises:
            ConfigurationError: A value is invalid.
        """
        for name in self.account_names:
            self._given(name)

    def _same_key(self, name: str) -> str | None:
        """Why an account cannot be used because another one of its provider has its key: each would take the other's jobs for strangers'."""
        accounts = self.declared_accounts
        key = self._given(name).api_key
        if key is None or not key.get_secret_value():
            return None
        twins = [
            other
            for other in self.account_names
            if accounts.provider_of(other) == accounts.provider_of(name) and self._given(other).api_key == key
        ]
        if len(twins) == 1:
            return None
        variables = [self._key_variable(twin) for twin in twins]
        return (
            f"the accounts {' and '.join(map(repr, twins))} have the same key, so neither is used; other accounts go on. Set "
            f"another key in one of {' and '.join(variables)}, or remove one account from data/accounts. Nothing was bought."
        )

    def _key_variable(self, name: str) -> str:
        declared = self.declared_accounts.found.get(name)
        return spec_of(name).key_variable if declared is None else declared.key


def load_settings() -> Settings:
    """Read the settings.

    Raises:
        ConfigurationError: A value is invalid or a name is misspelt; the message names the variable and what is allowed.
    """
    pinned_json = os.environ.get(PINNED) or "{}"
    given = json.loads(pinned_json)
    file = os.environ.get(ENV_FILE, ".env") or None
    if ENV_FILE in os.environ and file is not None and not Path(file).is_file():
        raise ConfigurationError(
            f"{ENV_FILE} names {file}, but this file does not exist. Nothing was bought."
        )
    known = names()
    refuse_misspelt(given, PINNED, known=known)
    refuse_misspelt(os.environ, "the environment", known=known)
    if file is not None:
        refuse_misspelt(names_in(file), file, known=known)
    network = Network.of(given, os.environ, {} if file is None else dotenv_values(file))
    try:
        settings = _settings(tuple(os.environ.items()), file, _bytes_of(file), pinned_json, network)
    except ValidationError as error:
        raise ConfigurationError(f"Invalid setting: {_in_words(error)}. See .env.example.") from None
    if settings.reads_bucket:
        settings = settings.reading(_pushed_folder(settings.home))
    if settings.declared_accounts.found:
        # a file may have changed although no variable has
        settings.check_accounts()
    return settings


@functools.lru_cache(maxsize=1)
def _settings(
    _environ: tuple[tuple[str, str], ...],
    file: str | None,
    _content: bytes,
    pinned_json: str,
    network: Network,
) -> Settings:
    """The settings that these variables make. A step reads them some thirty times; pydantic takes 2 ms each time."""
    pinned_ones = json.loads(pinned_json)
    in_file = {} if file is None else dotenv_values(file)
    variables = merged(pinned_ones, os.environ, in_file)
    settings = Settings.model_validate(variables).through(network, variables)
    settings.check_accounts()
    return settings


def _pushed_folder(home: Path) -> Path:
    """The pushed data folder that this host has read last; one that does not exist before the first."""
    pointer = (home / POINTER).absolute()
    try:
        digest = pointer.read_text().strip()
    except OSError:
        digest = "none"
    return pointer.with_name(digest)


def _bytes_of(file: str | None) -> bytes:
    if file is None:
        return b""
    try:
        return Path(file).read_bytes()
    except OSError:
        return b""


def open_ledger(settings: Settings, *, patience: float | None = None) -> "Ledger":
    """The ledger with what the settings say of the policy. Commands, resources and jobs open it only through this function.

    A rebuilt ledger once counted its days in UTC, because its command did not pass the budget.

    Args:
        patience: How long to wait for a PostgreSQL server that is away, in seconds; None for as long as a command or a tick waits.

    Raises:
        ConfigurationError: The database cannot be used; see `resources.ledger.database.open_database`.
    """
    # SQLAlchemy is half of what a command loads, and many commands read settings alone
    from resources.ledger.ledger import Ledger
    from resources.ledger.outage import PATIENCE_SECONDS

    return Ledger(
        settings.ledger_url,
        budget=settings.budget,
        said=settings.policy,
        patience=PATIENCE_SECONDS if patience is None else patience,
    )


@functools.cache
def names() -> frozenset[str]:
    """The variables that are settings."""
    ours = frozenset(str(field.validation_alias) for field in Settings.model_fields.values())
    return ours | known_variables()


def pinned(environment: Mapping[str, str | None], keys: Collection[str] = ()) -> str:
    """The settings among some variables, for `PINNED`; None removes a setting.

    Args:
        keys: Further variables that are settings: the keys of declared accounts.
    """
    known = names() | frozenset(keys)
    return json.dumps({name: v for name, v in environment.items() if name in known or is_variable(name)})


def _listed(setting: str) -> frozenset[str]:
    return frozenset(part.strip().rstrip("/") for part in setting.split(",") if part.strip())


def _micros(amount: Decimal | None) -> Micros | None:
    return None if amount is None else usd(amount)


_S3_VARIABLES = {
    "bucket": "DAILIES_S3_BUCKET",
    "endpoint_url": "DAILIES_S3_ENDPOINT",
    "settings": "DAILIES_S3_*, AWS_*",
}
"""The variables of the fields of `S3Settings`; `settings` if several of them contradict each other."""


def _in_words(error: ValidationError, variables: Mapping[str, str] | None = None) -> str:
    """Each problem with the name of its field, or of the variable that sets it."""
    said = []
    for problem in error.errors(include_input=False):
        field = ".".join(map(str, problem["loc"])) or "settings"
        words = allowed_by(problem)
        message = problem["msg"].removeprefix("Value error, ") if words is None else words
        allowed = "allowed: " if problem["type"] == "refused" or words is not None else ""
        said.append(f"{(variables or {}).get(field, field)}: {allowed}{message}")
    return "; ".join(said)
