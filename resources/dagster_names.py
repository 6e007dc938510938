"""The names under which dailies appears in a Dagster, where other code locations may have assets named `prompts` too.

They are read separately from other settings and once per process, since definitions are named when their module is imported.
"""

import contextlib
import functools
import json
import os
import re
from collections.abc import Iterator
from typing import Annotated

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from resources.declared.validation import allowed_by
from resources.errors import ConfigurationError
from resources.variables import ENV_FILE, PINNED, merged

LOCATION, PREFIX, GROUP = "DAILIES_LOCATION", "DAILIES_ASSET_PREFIX", "DAILIES_ASSET_GROUP"
REPOSITORY = "__repository__"
"""Dagster's name of the repository of a location that is built from `Definitions`."""
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}"


class DagsterNames(BaseModel):
    """The three names, by their environment variables."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, frozen=True)

    location: Annotated[str, Field(pattern=f"^{_NAME}$")] = Field(
        default="dailies", validation_alias=LOCATION
    )
    """The name of the code location in Dagster's workspace file; every command asks Dagster for this location."""
    asset_prefix_setting: str = Field(default="", validation_alias=PREFIX)
    """What comes before each asset's name, with `/` between its parts, e.g. `video`; it names the partitions too. Empty: nothing."""
    asset_group: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,64}$")] = Field(
        default="dailies", validation_alias=GROUP
    )
    """The group of our assets on Dagster's pages."""

    @field_validator("asset_prefix_setting")
    @classmethod
    def _parts_of_keys(cls, value: str) -> str:
        if value and not all(re.fullmatch(_NAME, part) for part in value.split("/")):
            raise ValueError(
                "allowed: names of letters, digits, _ . and -, with / between them, e.g. video/dailies"
            )
        return value

    @property
    def asset_prefix(self) -> tuple[str, ...]:
        """The parts before each asset's name."""
        return tuple(filter(None, self.asset_prefix_setting.split("/")))

    def asset_path(self, asset: str) -> list[str]:
        """The whole key of one of our assets."""
        return [*self.asset_prefix, asset]

    def partitions_name(self, of: str) -> str:
        """The name of our dynamic partitions, which all locations of a Dagster share."""
        return "_".join([*self.asset_prefix, of])


@functools.cache
def dagster_names() -> DagsterNames:
    """The names of this process.

    Raises:
        ConfigurationError: One is invalid.
    """
    file = os.environ.get(ENV_FILE, ".env") or None
    pinned = json.loads(os.environ.get(PINNED) or "{}")
    with _in_words():
        return DagsterNames.model_validate(merged(pinned, os.environ, dotenv_values(file) if file else {}))


def names_of(*, location: str, prefix: str) -> DagsterNames:
    """Names that a person gives.

    Raises:
        ConfigurationError: One is invalid.
    """
    with _in_words():
        return DagsterNames.model_validate({LOCATION: location, PREFIX: prefix})


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        why = allowed_by(first) or first["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"Invalid setting: {first['loc'][0]}: {why}. See .env.example.") from None


def named(names: DagsterNames) -> dict[str, str]:
    """The variables that give these names to another process."""
    return {LOCATION: names.location, PREFIX: names.asset_prefix_setting, GROUP: names.asset_group}


def selector() -> dict[str, str]:
    """Our code location, as Dagster's GraphQL selects it."""
    return {"repositoryLocationName": dagster_names().location, "repositoryName": REPOSITORY}


def asset_page(asset: str) -> str:
    """The path of one of our assets' page below Dagster's address."""
    return "/assets/" + "/".join(dagster_names().asset_path(asset))
