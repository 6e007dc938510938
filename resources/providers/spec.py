"""The `ProviderSpec` that a provider's package exports as `PROVIDER`: all that other packages know about a provider.

It holds the data for reading declarations and showing tables. The client is imported only when one is built, since it imports the
HTTP library.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from resources.providers.callbacks import CallbackReader
from resources.providers.provider import Capabilities, Provider

if TYPE_CHECKING:
    import httpx

    from resources.network.way_out import Network

_NAME = re.compile(r"[a-z][a-z0-9]{1,31}")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{2,63}")


@dataclass(frozen=True)
class Connection:
    """The address, keys and network of one account, for its client."""

    account: str
    """Name of the account in the ledger."""
    base_url: str
    """Address without the API's path."""
    api_key: str = field(repr=False)
    """The account's key."""
    network: "Network | None" = None
    """Proxies and trusted certificates; None for the environment's proxies only."""
    clock: Callable[[], float] = time.time
    """Seconds since the epoch, for comparison with the provider's clock."""
    transport: "httpx.AsyncBaseTransport | None" = None
    """Replaces the network in tests and for `verify-provider`."""
    webhook_url: Callable[[str], str] | None = None
    """Builds the callback address of a submission id; None for no callbacks."""
    admin_key: str | None = field(default=None, repr=False)
    """The account's second key, for its bill; None if there is none or none is set."""
    key_variable: str | None = None
    """The environment variable of the account's key; None for the provider's own."""


@dataclass(frozen=True)
class Conventions:
    """The provider's own names for the common parameters of series."""

    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The provider's other names of a common parameter."""
    frame: str = "size"
    """The parameter for the frame's width and height together, if an endpoint has it."""
    separator: str = "x"
    """The text between width and height in that parameter."""


@dataclass(frozen=True)
class DocumentedWire:
    """The provider's wire format as its pages document it. `verify-provider` compares a real purchase with it.

    Kinds of calls are `submit`, `result`, `list`, `bill`, `balance`, `price` and `models`.
    """

    calls: tuple[tuple[str, str], ...]
    """A regular expression of method and path (`GET /v2/logs`) and the kind of the call; the first that matches counts."""
    fields: Mapping[str, Mapping[str, str]]
    """The fields of an answer by kind of call, and the type of each (see `resources.providers.wire_fields`): `?` at the end marks a
    field that may be absent or null, `[]` every item of a list."""
    statuses: frozenset[str]
    """The words for a job's state, in lower case."""
    headers: frozenset[str] = frozenset()
    """Headers of answers that begin with `x-`, in lower case."""


@dataclass(frozen=True)
class ContractNotes:
    """Facts of a contract that only docs/providers.md shows, beside the capabilities."""

    window: str = "not stated"
    """How far back the listing goes."""
    cancel: str = "not stated"
    """Whether a job can be cancelled, and what that costs."""
    remains: str = ""
    """The remaining risk of a lost answer, beyond what follows from the capabilities."""
    grades: Mapping[str, str] = field(default_factory=dict)
    """By row of the table (`echo`, `listing`, `input`, `running`, `window`, `bill`, `callbacks`, `retention`, `cancel`, `key`), the grade of its source: A the
    provider's own and current, B its own but old or contradicted, C somebody else's or inferred."""


@dataclass(frozen=True)
class ProviderSpec:
    """One provider. `resources.providers.registry` lists them."""

    name: str
    """Its name in declarations, variables and the ledger: `wavespeed`. Lower-case letters and digits."""
    title: str
    """Its name for people, and in manifests."""
    url: str
    """Its public address without the API's path."""
    key_variable: str
    """The environment variable of its key, which its own clients read too."""
    build: Callable[[Connection], Provider]
    """Makes the client of an account. It imports the client's module when it is called."""
    capabilities: Capabilities
    """The capabilities of its contract."""
    documented: DocumentedWire
    """Its wire format as documented."""
    conventions: Conventions = field(default_factory=Conventions)
    """How its models write common parameters."""
    models_call: str = "its list of models"
    """The call that lists its models, named in drafts of entries."""
    output_hosts: tuple[str, ...] = ()
    """Hosts of outputs in its documentation. They are checked before a purchase, but they are no allow-list."""
    keyed_hosts: tuple[str, ...] = ()
    """Hosts, with their subdomains, whose outputs may need the account's key. The key is sent only there, and only after a 401 or
    403."""
    key_scheme: str = "Bearer"
    """The word before the key in the header `Authorization`."""
    admin_key: bool = False
    """Whether its bill needs a second key of the account, in the variable `DAILIES_<NAME>_ADMIN_KEY`. Without that key, the cost of jobs
    is our estimate."""
    sandbox_path: str = ""
    """The path of its stand-in below the sandbox's address, e.g. `/acme`."""
    callbacks: Callable[[Provider], CallbackReader] | None = None
    """Builds the reader of its callbacks from an account's client; None if it sends none."""
    notes: ContractNotes = field(default_factory=ContractNotes)
    """Further facts of its contract."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or not _VARIABLE.fullmatch(self.key_variable):
            raise ValueError(
                f"{self.name!r} and {self.key_variable!r} cannot name a provider and the variable of its key"
            )

    def variable(self, setting: str) -> str:
        """The environment variable of a setting of its own account, e.g. `DAILIES_WAVESPEED_MAX_IN_FLIGHT`."""
        return f"DAILIES_{self.name.upper()}_{setting.upper()}"
