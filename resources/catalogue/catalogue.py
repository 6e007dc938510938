"""All endpoints of `data/models/`, searched by id and provider."""

import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from resources.catalogue.endpoint import Endpoint
from resources.declared.document import Document, parse_document, read_text, yaml_files
from resources.declared.problems import Problem, ProblemsError, listed, show
from resources.declared.validation import declare
from resources.program_files import models_beside
from resources.providers.registry import provider_names


class Catalogue:
    """The endpoints that can be bought.

    Attributes:
        problems: Mistakes of the entries that it leaves out.
    """

    def __init__(self, endpoints: list[Endpoint], problems: list[Problem] | None = None) -> None:
        self._endpoints = {(endpoint.id, endpoint.provider): endpoint for endpoint in endpoints}
        self.problems = problems or []

    @classmethod
    def of(cls, data: Path) -> "Catalogue":
        """The entries of a data folder's `models/`, and the program's own for every endpoint that has none there.

        If the folder was pushed, the program's own entries are those pushed with it.
        """
        return cls.load(data / "models", models_beside(data))

    @classmethod
    def load(cls, models_dir: Path, others: Path | None = None) -> "Catalogue":
        """Read every entry of a folder. A broken entry is in `problems` and does not stop the others.

        Args:
            others: A second folder, for endpoints that have no entry in the first one. A broken entry in the first one keeps its
                endpoint out, so that no other price takes its place.
        """
        problems: list[Problem] = []
        read: dict[tuple[str, str], tuple[Endpoint, Document]] = {}
        own_ids: set[tuple[str, str] | None] = set()
        for file, is_own in _files(models_dir, others):
            try:
                text = read_text(file)
                document = replace(_parsed(text), file=file)
                if is_own:
                    own_ids.add(_endpoint_id(document))
                elif _endpoint_id(document) in own_ids:
                    continue
                endpoint = _declared(text, provider_names())
            except ProblemsError as error:
                problems += [replace(problem, file=file) for problem in error.problems]
                continue
            key = (endpoint.id, endpoint.provider)
            if key in read:
                first = read[key][1].file.name
                problems.append(
                    document.problem(("id",), found=show(endpoint.id), message=f"is already in {first}")
                )
                continue
            read[key] = (endpoint, document)
        for endpoint, document in read.values():
            drafts = endpoint.drafts
            for where, other in (
                (("lifecycle", "replacement"), endpoint.lifecycle.replacement),
                (("drafts", "finished_by"), None if drafts is None else drafts.finished_by),
            ):
                if other is None or (other, endpoint.provider) in read:
                    continue
                ids = [id_ for id_, provider in read if provider == endpoint.provider]
                message = f"is not an endpoint of {endpoint.provider} in this catalogue"
                problems.append(
                    document.problem(where, found=show(other), message=message).hinted(other, ids)
                )
        return cls([endpoint for endpoint, _ in read.values()], problems)

    def get(self, endpoint: str, provider: str | None = None) -> Endpoint:
        """The endpoint with an id, at the provider or, if none is named, at the first of its sellers.

        The order is the registry's, so that a provider that is added later changes no series.

        Raises:
            ProblemsError: No such endpoint exists, or not at this provider; the fields are `endpoint` and `provider`.
        """
        matches = {e.provider: e for e in self if e.id == endpoint and provider in {None, e.provider}}
        if matches:
            return next(matches[name] for name in provider_names() if name in matches)
        sellers = [e.provider for e in self if e.id == endpoint]
        if sellers:
            raise ProblemsError(
                [Problem("provider", "does not sell this endpoint", show(provider), listed(sellers))]
            )
        ids = sorted({e.id for e in self if provider in {None, e.provider}})
        problem = Problem("endpoint", "is not in the catalogue (data/models)", show(endpoint))
        raise ProblemsError([problem.suggesting(endpoint, ids)])

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(self._endpoints.values())

    def __len__(self) -> int:
        return len(self._endpoints)


def _files(first: Path, others: Path | None) -> list[tuple[Path, bool]]:
    """The files of a folder, then those of the second one whose names the first does not have; and whether each is of the first."""
    own = yaml_files(first)
    if others is None or first.resolve() == others.resolve():
        return [(file, True) for file in own]
    names = {file.name for file in own}
    more = [file for file in yaml_files(others) if file.name not in names]
    return [*((file, True) for file in own), *((file, False) for file in more)]


def _endpoint_id(document: Document) -> tuple[str, str] | None:
    """The provider and id of an entry that may be broken otherwise; None if it says neither."""
    value = document.value
    return (str(value.get("provider")), str(value.get("id"))) if isinstance(value, dict) else None


@functools.lru_cache(1024)
def _parsed(text: str) -> Document:
    """An entry from text without a file.

    Raises:
        ProblemsError: The text is not YAML.
    """
    return parse_document(text, Path())


@functools.lru_cache(1024)
def _declared(text: str, _providers: tuple[str, ...]) -> Endpoint:
    """An entry by its text, which is validated once in a process: 14 runs loaded the catalogue 69 times.

    Raises:
        ProblemsError: The entry has mistakes; they name no file.
    """
    return declare(Endpoint, _parsed(text))
