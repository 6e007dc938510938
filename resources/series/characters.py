"""Characters: people and things that look the same in every clip. Each is made once from a reference video.

A file in `data/characters/` declares a character, its provider makes it and returns an id, and series name it in their cast.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from resources.catalogue import Catalogue, DataFolder, Endpoint
from resources.declared.document import Document, read_document, yaml_files
from resources.declared.problems import Problem, ProblemsError, show
from resources.declared.validation import Declared, declare
from resources.orders import ClipRequest, Expected
from resources.providers.account_files import DeclaredAccounts, load_accounts
from resources.providers.registry import ProviderName
from resources.series.declaration import Name, Owner
from resources.series.retirement import retired

FOLDER = "characters"
SERIES = "(characters)"
"""The series of a character in the ledger; no real series can have this name."""
NEEDS = {"name", "video"}
"""The parameters that identify an endpoint which makes characters."""


class CharacterDeclaration(Declared):
    """A person or thing that looks the same in every clip."""

    name: Name = Field(examples=["mara"])
    """Its name, which series use in their cast; at least three characters."""
    title: Annotated[str, Field(max_length=80)] | None = None
    """Its name at the provider; left out, the name with capitals."""
    description: Annotated[str, Field(max_length=2000)] | None = None
    """Who or what it is."""
    video: Annotated[str, Field(min_length=1, max_length=2048)]
    """A reference video of two to four seconds: an address, or a file below the data folder."""
    endpoint: str = "openai/sora-2/characters"
    """The endpoint that makes it, as in data/models."""
    provider: ProviderName | None = None
    """Who sells the endpoint; needed only if two providers do."""
    account: str | None = None
    """The account that makes it, as in data/accounts; left out, the provider's own. Only clips of the same account can show it."""
    allow_retired: bool = False
    """Make it with an endpoint that its provider has retired."""
    owner: Owner | None = Field(default=None, examples=["team:video"])
    """Who is responsible for it: an e-mail address or `team:name`."""


@dataclass(frozen=True)
class Character:
    """A character without mistakes."""

    declaration: CharacterDeclaration
    """The content of the file."""
    endpoint: Endpoint
    """The endpoint that makes it."""
    document: Document
    """The file with its lines."""
    request: ClipRequest
    """The request that makes it."""

    @property
    def name(self) -> str:
        """Its name, which is its Dagster partition."""
        return self.declaration.name


@dataclass(frozen=True)
class Made:
    """A character that its provider has made."""

    id: str
    """The provider's id."""
    fingerprint: str
    """Fingerprint of the request that made it."""


@dataclass
class Characters:
    """All declared characters."""

    found: dict[str, Character] = field(default_factory=dict)
    """Characters without mistakes, by name."""
    problems: list[Problem] = field(default_factory=list)
    """Mistakes of the other files."""

    @classmethod
    def load(cls, data_dir: Path, catalogue: Catalogue) -> "Characters":
        """Read every file of `data_dir/characters`. Nothing is sent."""
        characters, accounts = cls(), load_accounts(data_dir)
        for file in yaml_files(data_dir / FOLDER):
            try:
                character = _load(
                    read_document(file, inside=data_dir), catalogue, DataFolder(data_dir), accounts
                )
            except ProblemsError as error:
                characters.problems += error.problems
                continue
            other = characters.found.setdefault(character.name, character)
            if other is not character:
                message = f"is already the name of the character in {other.document.file.name}"
                name = show(character.name)
                characters.problems.append(character.document.problem(("name",), found=name, message=message))
        return characters

    def get(self, name: str) -> Character:
        """The character with a name.

        Raises:
            ProblemsError: No character without mistakes has this name.
        """
        if name in self.found:
            return self.found[name]
        more = (
            f"; {len(self.problems)} problems keep others out, first: {self.problems[0]}"
            if self.problems
            else ""
        )
        problem = Problem("character", f"does not exist in data/{FOLDER}{more}", show(name))
        raise ProblemsError([problem.suggesting(name, sorted(self.found))])


def id_of(name: str, characters: Characters, made: Mapping[str, Made]) -> str:
    """The provider's id of a character.

    Raises:
        ProblemsError: The character is not declared, is not made yet, or has changed since it was made.
    """
    character = characters.get(name)
    known = made.get(name)
    mistake = ""
    if known is None:
        mistake = "is not made yet"
    elif known.fingerprint != character.request.fingerprint:
        mistake = f"has changed since it was made ({character.document.file.name})"
    if known is None or mistake:
        message = f"{mistake}: run `dailies characters make {name}`, or materialize it in `characters`"
        raise ProblemsError([Problem("cast", message, show(name))])
    return known.id


def _load(
    document: Document, catalogue: Catalogue, files: DataFolder, accounts: DeclaredAccounts
) -> Character:
    declaration = declare(CharacterDeclaration, document)
    try:
        endpoint = catalogue.get(declaration.endpoint, declaration.provider)
        accounts.check(declaration.account, endpoint.provider)
    except ProblemsError as error:
        raise ProblemsError(
            problem.at(document.file, document.line((problem.field,))) for problem in error.problems
        ) from None
    message = ""
    if endpoint.makes_video or not endpoint.parameters.keys() >= NEEDS:
        message = "makes no characters"
    elif not declaration.allow_retired:
        message = retired(endpoint, dt.datetime.now(dt.UTC).date()) or ""
    if message:
        raise ProblemsError([document.problem(("endpoint",), found=show(endpoint.id), message=message)])
    if len(declaration.name) < 3:
        raise ProblemsError(
            [document.problem(("name",), found=show(declaration.name), allowed="at least three characters")]
        )
    return Character(declaration, endpoint, document, _request(declaration, endpoint, document, files))


def _request(
    declaration: CharacterDeclaration, endpoint: Endpoint, document: Document, files: DataFolder
) -> ClipRequest:
    title = declaration.title or declaration.name.replace("-", " ").title()
    parameters = {"name": title, "video": declaration.video}
    try:
        body = endpoint.resolve("", parameters, files=files)
    except ProblemsError as error:
        fields = {"parameters.name": "title", "parameters.video": "video"}
        raise ProblemsError(
            p.at(document.file, document.line((fields.get(p.field, p.field),)), fields.get(p.field, p.field))
            for p in error.problems
        ) from None
    return ClipRequest(
        kind="character",
        clip=declaration.name,
        series=SERIES,
        provider=endpoint.provider,
        account=declaration.account,
        endpoint=endpoint.id,
        body=body,
        price_micros=endpoint.price(body),
        expected=Expected(),
        usual_seconds=endpoint.usual_seconds,
        max_seconds=endpoint.max_seconds,
        sunset_at=endpoint.lifecycle.coming_sunset(dt.datetime.now(dt.UTC).date()),
        owner=declaration.owner,
    )
