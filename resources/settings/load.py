"""Reading the settings from the environment and from `.env`."""

import functools
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path

from dotenv import dotenv_values
from pydantic import ValidationError

from resources.errors import ConfigurationError
from resources.network.way_out import Network, is_variable
from resources.providers.account_variables import known_variables
from resources.settings.known_accounts import POINTER
from resources.settings.messages import in_words
from resources.settings.settings import Settings
from resources.variables import ENV_FILE, PINNED, merged, names_in, refuse_misspelt


def load_settings() -> Settings:
    """Read the settings.

    Raises:
        ConfigurationError: A value is invalid or a name is misspelt; the message names the variable and what is allowed.
    """
    pinned_json = os.environ.get(PINNED) or "{}"
    pinned_values = json.loads(pinned_json)
    file = os.environ.get(ENV_FILE, ".env") or None
    if ENV_FILE in os.environ and file is not None and not Path(file).is_file():
        raise ConfigurationError(
            f"{ENV_FILE} names {file}, but this file does not exist. Nothing was bought."
        )
    known = names()
    refuse_misspelt(pinned_values, PINNED, known=known)
    refuse_misspelt(os.environ, "the environment", known=known)
    if file is not None:
        refuse_misspelt(names_in(file, known), file, known=known)
    network = Network.of(pinned_values, os.environ, {} if file is None else dotenv_values(file))
    try:
        settings = _settings(tuple(os.environ.items()), file, _bytes_of(file), pinned_json, network)
    except ValidationError as error:
        raise ConfigurationError(f"Invalid setting: {in_words(error)}. See .env.example.") from None
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
