"""The accounts in `data/accounts/`: more than one at a provider, each with its own key, limits and caps.

A provider's own account has the provider's name and is set by variables, not by a file.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from resources.declared.document import read_document, yaml_files
from resources.declared.problems import Problem, ProblemsError, listed, show
from resources.declared.validation import Declared, Usd, declare, refused
from resources.providers.account_variables import AccountVariables, known_variables
from resources.providers.registry import ProviderName, provider_names, spec_of
from resources.variables import PREFIX

FOLDER = "accounts"
_NAME = r"^[a-z0-9][a-z0-9-]{2,39}$"
_VARIABLE = r"^[A-Z][A-Z0-9_]{2,63}$"


def _another_name(name: str) -> str:
    if not re.fullmatch(_NAME, name):
        raise refused(
            allowed="3 to 40 lower-case letters, digits and hyphens, a letter or digit first, e.g. team-b"
        )
    if name in provider_names():
        raise refused(f"is the provider's own account, which variables set ({spec_of(name).variable('...')})")
    return name


def _another_variable(name: Any) -> str:
    if not isinstance(name, str) or not re.fullmatch(_VARIABLE, name):
        # a key was once written here; this text reaches logs, so it never shows the value
        raise refused(
            "write the name of the key's variable; the key itself belongs in .env (its value is not shown here)",
            allowed="3 to 64 capital letters, digits and _, a letter first, e.g. TEAM_B_KEY",
            found=False,
        )
    if name.startswith(PREFIX):
        raise refused(f"begins with {PREFIX}, like the settings; name the variable of a key differently")
    if name in known_variables():
        raise refused("is the key of the provider's own account")
    return name


KeyVariable = Annotated[
    str, BeforeValidator(_another_variable), WithJsonSchema({"type": "string", "pattern": _VARIABLE})
]
"""The environment variable of a key."""


class AccountDeclaration(Declared):
    """Another account at a provider, with a key of its own."""

    name: Annotated[
        str, AfterValidator(_another_name), WithJsonSchema({"type": "string", "pattern": _NAME})
    ] = Field(examples=["team-b"])
    """Its name in series and in the ledger: lower-case letters, digits and hyphens."""
    provider: ProviderName
    """The provider of the account."""
    key: KeyVariable = Field(examples=["TEAM_B_KEY"])
    """The environment variable of its key. The key itself belongs in no file of the data folder."""
    admin_key: KeyVariable | None = Field(default=None, examples=["TEAM_B_ADMIN_KEY"])
    """The environment variable of its second key, if the provider's bill needs one; without it, costs are estimates."""
    dedicated: bool | None = None
    """Whether only this ledger uses the key. Left out, it counts as shared, and nothing is guessed about a lost answer."""
    max_in_flight: Annotated[int, Field(ge=1)] | None = None
    """Most jobs at once."""
    submits_per_minute: Annotated[int, Field(ge=1)] | None = None
    """Most submits in any 60 seconds."""
    settle_seconds: Annotated[int, Field(ge=1)] | None = None
    """Seconds after a lost submit before a miss in the listing proves anything; left out, the provider's usual value."""
    max_usd_per_day: Usd | None = None
    """Most US dollars per day."""
    max_usd_per_month: Usd | None = None
    """Most US dollars per month."""

    def settings(self, variables: Mapping[str, str]) -> AccountVariables:
        """Its settings, with its key from the variables (by name in upper case) and its provider's address.

        Raises:
            pydantic.ValidationError: The variable of the provider's address is invalid.
        """
        fields = AccountVariables.model_fields.keys() & type(self).model_fields.keys() - {"admin_key"}
        own = {name: getattr(self, name) for name in fields}
        address = AccountVariables.read(spec_of(self.provider), variables).url
        admin_key = variables.get(self.admin_key) if self.admin_key else None
        return AccountVariables(api_key=variables.get(self.key), admin_key=admin_key, url=address, **own)

    @property
    def key_variables(self) -> tuple[str, ...]:
        """The variables of its keys."""
        return (self.key,) if self.admin_key is None else (self.key, self.admin_key)


@dataclass(frozen=True)
class DeclaredAccounts:
    """The files of `data/accounts/`."""

    found: Mapping[str, AccountDeclaration] = field(default_factory=dict)
    """Accounts without mistakes, by name."""
    problems: tuple[Problem, ...] = ()
    """Mistakes of the other files; their accounts do not exist."""

    def provider_of(self, name: str) -> str | None:
        """The provider of an account, declared or a provider's own; None if there is no such account."""
        if name in provider_names():
            return name
        account = self.found.get(name)
        return None if account is None else account.provider

    def check(self, name: str | None, provider: str) -> None:
        """Refuse an account that does not exist or is another provider's.

        Args:
            name: None for the provider's own account.
            provider: The provider of the purchase.

        Raises:
            ProblemsError: With the accounts of the provider; the field is `account`.
        """
        if name is None or self.provider_of(name) == provider:
            return
        known = self.provider_of(name)
        message = (
            "is not declared in data/accounts"
            if known is None
            else f"is an account at {known}, not at {provider}"
        )
        ours = [provider, *(one.name for one in self.found.values() if one.provider == provider)]
        raise ProblemsError([Problem("account", message, show(name), listed(ours)).hinted(name, ours)])


def load_accounts(data_dir: Path) -> DeclaredAccounts:
    """Read every file of `data_dir/accounts`. A broken file is in `problems` and does not stop the others."""
    files = yaml_files(data_dir / FOLDER)
    return _load(data_dir, tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in files))


@functools.lru_cache(maxsize=4)
def _load(data_dir: Path, files: tuple[tuple[Path, int, int], ...]) -> DeclaredAccounts:
    """Parse the files, cached until they change, since a step reads settings about thirty times."""
    accounts: dict[str, AccountDeclaration] = {}
    problems: list[Problem] = []
    for file, *_ in files:
        try:
            document = read_document(file, inside=data_dir)
            account = declare(AccountDeclaration, document)
        except ProblemsError as error:
            problems += error.problems
            continue
        same_key = next((one for one in accounts.values() if one.key == account.key), None)
        if account.name in accounts:
            problems.append(
                document.problem(("name",), found=show(account.name), message="is declared twice")
            )
        elif same_key is not None:
            message = f"is the key of {same_key.name}, too: each account has a key of its own"
            problems.append(document.problem(("key",), found=show(account.key), message=message))
        else:
            accounts[account.name] = account
    return DeclaredAccounts(accounts, tuple(problems))
