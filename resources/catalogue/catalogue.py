"""All endpoints of `data/models/`, searched by id and provider."""

from collections.abc import Iterator
from pathlib import Path

from resources.catalogue.endpoint import Endpoint
from resources.declared.document import Document, read_document, yaml_files
from resources.declared.problems import Problem, ProblemsError, listed, show
from resources.declared.validation import declare
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
    def load(cls, models_dir: Path) -> "Catalogue":
        """Read every entry of a folder. A broken entry is in `problems` and does not stop the others."""
        problems: list[Problem] = []
        read: dict[tuple[str, str], tuple[Endpoint, Document]] = {}
        for file in yaml_files(models_dir):
            try:
                document = read_document(file)
                endpoint = declare(Endpoint, document)
            except ProblemsError as error:
                problems += error.problems
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
        """The endpoint with an id, at the provider or, where none is named, at the first of its sellers.

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
