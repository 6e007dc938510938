"""The endpoints of data/models, compared with the lists and quotes of their providers."""

import asyncio
import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer
from rich.text import Text

from pipelines.cli.terminal import complain, console, counted, print_table, table_of, tell
from resources.catalogue import Catalogue, Endpoint
from resources.catalogue.drafts import draft, file_name
from resources.catalogue.drift import Drift, drifts, sample_body
from resources.catalogue.frames import seconds_of
from resources.errors import ConfigurationError, UnavailableError
from resources.money import to_usd
from resources.providers.accounts import build_provider
from resources.providers.live_models import LiveModel
from resources.providers.provider import Provider
from resources.providers.registry import spec_of
from resources.settings import Settings


def compare(settings: Settings, catalogue: Catalogue, only: str | None) -> tuple[list[Drift], int]:
    """Compare the catalogue with the lists and quotes of one or all providers; returns the differences and the number of endpoints.

    Raises:
        DailiesError: No account has a key, or a provider does not answer.
    """
    differences: list[Drift] = []
    checked = 0
    for name, account in _with_keys(settings, only).items():
        mine = [endpoint for endpoint in catalogue if endpoint.provider == name]
        differences += asyncio.run(_drifts(settings, account, mine))
        checked += len(mine)
    return differences, checked


def add_endpoint(settings: Settings, provider: str, model: str, to: Path | None) -> None:
    """Write a draft of a new endpoint's entry into a file, or print it if the file is `-`.

    Raises:
        DailiesError: The model is not listed or has an entry, or the file exists or cannot be written.
    """
    ((name, account),) = _with_keys(settings, provider).items()
    path = to or settings.own_data / "models" / file_name(name, model)
    if str(path) != "-" and path.parent.resolve() == (settings.data / "models").resolve():
        _refuse_a_second(settings, name, model)
    text = draft(name, asyncio.run(_listed(settings, account, model)), today=dt.datetime.now(dt.UTC).date())
    if to is not None and str(to) == "-":
        typer.echo(text, nl=False)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigurationError(
            f"{path} exists already; remove it first, or choose another file with --to"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from None
    tell(f"drafted {path}; read the provider's page, set the prices, then `dailies check`")


def show_endpoint(endpoint: Endpoint, today: dt.date) -> None:
    """Print every parameter of an endpoint, its price, and its doubtful facts."""
    tell(f"{endpoint.id}  {endpoint.title}, sold by {endpoint.provider}")
    shown = table_of("parameter", "default", "allowed", "what it does", wraps={"allowed", "what it does"})
    for name, parameter in {**endpoint.parameters, **endpoint.common_words}.items():
        default = "required" if parameter.required else "" if parameter.sent is None else str(parameter.sent)
        description = parameter.description or ""
        if name not in endpoint.parameters:
            description = "a common word"
        shown.add_row(name, default, Text(parameter.allows), Text(description))
    print_table(shown)
    tell(f"price    {price_in_words(endpoint)} ({endpoint.pricing.source})")
    if endpoint.usual_seconds is not None:
        tell(f"takes    usually {endpoint.usual_seconds} s")
    tell(f"state    {endpoint.lifecycle.warning(today) or 'live'}")
    lost = spec_of(endpoint.provider).capabilities.lost_answer
    tell(f"lost     a lost answer is {lost} (docs/providers.md)")
    tell(f"source   {endpoint.source}, checked {endpoint.checked}")
    for doubt in endpoint.doubts:
        tell(f"doubt    {doubt}")


def _refuse_a_second(settings: Settings, provider: str, model: str) -> None:
    """Refuse a second entry, since only one of the two would be used, perhaps the one without prices."""
    declared = {(endpoint.provider, endpoint.id) for endpoint in Catalogue.of(settings.data)}
    if (provider, model) in declared:
        raise ConfigurationError(
            f"{model} of {provider} has an entry already: `dailies models show {model}` shows it, `dailies models "
            "check` compares it with the provider, and `--to -` prints a draft"
        )


@dataclass
class _Asked:
    """The answers of one provider."""

    models: list[LiveModel]
    quotes: dict[str, int | None] = field(default_factory=dict)


async def _ask(provider: Provider, endpoints: list[Endpoint]) -> _Asked:
    asked = _Asked(await provider.models())
    slots = asyncio.Semaphore(4)

    async def one(endpoint: Endpoint) -> None:
        async with slots:
            asked.quotes[endpoint.id] = await provider.quote(endpoint.id, sample_body(endpoint))

    listed = [e for e in endpoints if any(model.is_called(e.id) for model in asked.models)]
    await asyncio.gather(*map(one, listed))
    return asked


async def _drifts(settings: Settings, name: str, endpoints: list[Endpoint]) -> list[Drift]:
    provider = build_provider(settings.account(name))
    try:
        asked = await _ask(provider, endpoints)
    finally:
        await provider.aclose()
    if not asked.models:
        raise UnavailableError(f"{name} lists no models, so nothing can be compared. Try again later.")
    today = dt.datetime.now(dt.UTC).date()
    return [
        drift
        for endpoint in endpoints
        for drift in drifts(endpoint, asked.models, quote=asked.quotes.get(endpoint.id), today=today)
    ]


async def _listed(settings: Settings, name: str, model: str) -> LiveModel:
    provider = build_provider(settings.account(name))
    try:
        models = await provider.models()
    finally:
        await provider.aclose()
    for found in models:
        if found.is_called(model):
            return found
    from resources.declared.problems import Problem, ProblemsError
    from resources.declared.problems import show as shown

    ids = [found.id for found in models]
    problem = Problem(
        "model", f"is not listed by {name}, which has {counted(len(ids), 'model')}", shown(model)
    )
    raise ProblemsError([problem.hinted(model, ids)])


def refuse_unknown(provider: str | None) -> None:
    """Refuse a provider that does not exist.

    Raises:
        ConfigurationError: There is no such provider; the text lists all.
    """
    if provider is not None:
        spec_of(provider)


def _with_keys(settings: Settings, only: str | None) -> dict[str, str]:
    """An account with a key for each provider that has one."""
    refuse_unknown(only)
    # the list is the same for every account of a provider
    providers: dict[str, str] = {}
    for one in settings.accounts_with_key:
        if only in {None, one.provider} and one.unusable is None:
            providers.setdefault(one.provider, one.name)
    if not providers:
        raise ConfigurationError(
            f"no account has a key, so no provider can be asked. Set {settings.key_variables(only)}, or use the sandbox's key."
        )
    return providers


def catalogue_of(settings: Settings) -> Catalogue:
    """The catalogue of the data folder; its problems are printed."""
    catalogue = Catalogue.of(settings.data)
    for problem in catalogue.problems:
        complain(str(problem))
    return catalogue


def price_in_words(endpoint: Endpoint) -> str:
    """A price such as `$0.10/s`, `$0.30 to $0.70/s`, `at most $0.40` or `quoted live`."""
    pricing = endpoint.pricing
    rates = sorted(set(pricing.rates.values())) or ([pricing.usd] if pricing.usd is not None else [])
    if not rates:
        return "quoted live"
    low, high = rates[0], rates[-1]
    words = f"${low}" if low == high else f"${low} to ${high}"
    words += "/s" if pricing.per == "second" else ""
    return f"at most {words}" if pricing.basis == "upper_bound" else words


def _seconds(endpoint: Endpoint) -> str:
    parameter = endpoint.parameters.get(endpoint.output.seconds or "duration")
    if parameter is None:
        return ""
    if parameter.allowed:
        read = {value: seconds_of(value) or 0 for value in parameter.allowed}
        # some models let a word or -1 choose the length
        words = [str(value) for value, seconds in read.items() if seconds < 1]
        lengths = sorted({seconds for seconds in read.values() if seconds > 0})
        is_run = len(lengths) > 2 and lengths == list(range(lengths[0], lengths[-1] + 1))
        text = f"{lengths[0]} to {lengths[-1]}" if is_run else " ".join(map(str, lengths))
        return ", ".join(filter(None, [*words, text]))
    return f"{parameter.min} to {parameter.max}" if parameter.min is not None else ""


def as_document(endpoint: Endpoint, today: dt.date) -> dict[str, Any]:
    """One endpoint as JSON: its file, and its state today."""
    prices = {value: str(rate) for value, rate in endpoint.pricing.rates.items()}
    return {
        **endpoint.model_dump(mode="json", exclude_none=True),
        "retired": endpoint.lifecycle.retired(today),
        "lost_answer": spec_of(endpoint.provider).capabilities.lost_answer,
        "warning": endpoint.lifecycle.warning(today),
        "default_price_usd": None
        if (price := endpoint.price(sample_body(endpoint))) is None
        else str(to_usd(price)),
        "rates_usd": prices,
        "common_words": sorted(endpoint.common_words),
    }


def print_endpoints(endpoints: list[Endpoint], today: dt.date, *, long: bool) -> None:
    """Print a table for each provider with a line per endpoint; with `long`, also its last check and the replacement of a retired one."""
    for provider in dict.fromkeys(endpoint.provider for endpoint in endpoints):
        lost = spec_of(provider).capabilities.lost_answer
        console.print(Text.assemble((provider, "bold"), f": a lost answer is {lost}"))
        _print_endpoints_of([one for one in endpoints if one.provider == provider], today, long=long)
        console.print()


def _print_endpoints_of(endpoints: list[Endpoint], today: dt.date, *, long: bool) -> None:
    columns = ("endpoint", "price", "seconds", "state", *(("checked",) if long else ()))
    listed = table_of(*columns, wraps=() if long else {"price", "seconds"})
    for endpoint in endpoints:
        warning = endpoint.lifecycle.warning(today)
        retired = endpoint.lifecycle.retired(today)
        label = (warning or "live").removeprefix("is ").replace(" by its provider", "")
        state = Text(
            label if long else "retired" if retired else label.partition(";")[0],
            style="red" if retired else "yellow" if warning else "green",
        )
        cells = (endpoint.id, price_in_words(endpoint), _seconds(endpoint), state)
        listed.add_row(*cells, *((str(endpoint.checked),) if long else ()))
    print_table(listed)


def print_drifts(differences: list[Drift], checked: int) -> None:
    """Print the differences, serious ones first."""
    serious = sum(drift.matters for drift in differences)
    if differences:
        listed = table_of("endpoint", "what", "catalogue", "provider", wraps={"catalogue", "provider"})
        for drift in sorted(differences, key=lambda d: (not d.matters, d.endpoint)):
            style = "" if drift.matters else "dim"
            row = (drift.endpoint, drift.field, drift.ours, drift.theirs)
            listed.add_row(*(Text(word, style=style) for word in row))
        print_table(listed)
    if serious:
        complain(f"{counted(serious, 'difference')} in {counted(checked, 'endpoint')}; correct data/models")
    else:
        tell(f"{counted(checked, 'endpoint')} compared; all as in the catalogue")
