"""`dailies models`: list the endpoints, compare them with the providers, and draft new ones."""

import asyncio
import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from pipelines.cli.stack_settings import running_settings
from pipelines.cli.terminal import Json, complain, console, counted, print_json
from resources.catalogue import Catalogue, Endpoint
from resources.catalogue.drafts import draft, file_name
from resources.catalogue.drift import Drift, drifts, sample_body
from resources.errors import ConfigurationError, UnavailableError
from resources.money import to_usd
from resources.providers.accounts import KEY_VARIABLES, build_provider
from resources.providers.live_models import LiveModel
from resources.providers.provider import Provider
from resources.settings import ACCOUNTS, Settings, load_settings

models_app = typer.Typer(help="Endpoints: list them, compare them with the providers, draft new ones.")


@models_app.callback(invoke_without_command=True)
def models(
    context: typer.Context,
    provider: Annotated[str | None, typer.Option(help="Only endpoints of this provider.")] = None,
    as_json: Json = False,
) -> None:
    """List every endpoint in data/models: price, lengths, state, and the day of its last check."""
    if context.invoked_subcommand is not None:
        return
    _known(provider)
    catalogue = _catalogue(load_settings())
    today = dt.datetime.now(dt.UTC).date()
    shown = sorted(
        (e for e in catalogue if provider in {None, e.provider}),
        key=lambda e: (e.lifecycle.retired(today), e.provider, e.id),
    )
    if as_json:
        print_json([as_document(endpoint, today) for endpoint in shown])
    else:
        console.print(_table(shown, today))
    raise typer.Exit(2 if catalogue.problems else 0)


@models_app.command()
def show(
    endpoint: Annotated[str, typer.Argument(help="Its id, e.g. openai/sora-2/text-to-video.")],
    provider: Annotated[str | None, typer.Option(help="The provider, if two sell it.")] = None,
    as_json: Json = False,
) -> None:
    """Show one endpoint: every parameter with its default and allowed values, and what is uncertain."""
    found = _catalogue(load_settings()).get(endpoint, provider)
    today = dt.datetime.now(dt.UTC).date()
    if as_json:
        print_json(as_document(found, today))
        return
    console.print(Text(f"{found.id}  {found.title}, sold by {found.provider}"))
    table = _plain_table("parameter", "default", "allowed", "what it does")
    for name, parameter in {**found.parameters, **found.common_words}.items():
        said = "required" if parameter.required else "" if parameter.sent is None else str(parameter.sent)
        what = parameter.description or ""
        if name not in found.parameters:
            what = "a common word"
        table.add_row(name, said, Text(parameter.allows), Text(what))
    console.print(table)
    console.print(Text(f"price    {price_in_words(found)} ({found.pricing.source})"))
    if found.usual_seconds is not None:
        console.print(Text(f"takes    usually {found.usual_seconds} s"))
    console.print(Text(f"state    {found.lifecycle.warning(today) or 'live'}"))
    console.print(Text(f"source   {found.source}, checked {found.checked}"))
    for doubt in found.doubts:
        console.print(Text(f"doubt    {doubt}"))


@models_app.command()
def check(
    provider: Annotated[str | None, typer.Option(help="Only this provider.")] = None,
    as_json: Json = False,
) -> None:
    """Compare the catalogue with the providers' lists and quotes. Free; exits with 1 if something has changed."""
    settings = running_settings()
    catalogue = _catalogue(settings)
    found: list[Drift] = []
    checked = 0
    for name in _with_keys(settings, provider):
        mine = [endpoint for endpoint in catalogue if endpoint.provider == name]
        found += asyncio.run(_drifts(settings, name, mine))
        checked += len(mine)
    if as_json:
        print_json({"checked": checked, "drifts": [vars(drift) for drift in found]})
    else:
        _print_drifts(found, checked)
    raise typer.Exit(1 if any(drift.matters for drift in found) else 2 if catalogue.problems else 0)


@models_app.command()
def add(
    provider: Annotated[str, typer.Argument(help="wavespeed or aimlapi.")],
    model: Annotated[str, typer.Argument(help="The provider's model id.")],
    to: Annotated[
        Path | None, typer.Option(help="The file to write; by default in data/models; - prints.")
    ] = None,
) -> None:
    """Draft an entry for a new model from the provider's list. Buys nothing."""
    settings = running_settings()
    (name,) = _with_keys(settings, provider)
    path = to or settings.data / "models" / file_name(name, model)
    if str(path) != "-" and path.parent.resolve() == (settings.data / "models").resolve():
        _refuse_a_second(settings, name, model)
    text = draft(name, asyncio.run(_listed(settings, name, model)), today=dt.datetime.now(dt.UTC).date())
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
    console.print(Text(f"drafted {path}; read the provider's page, set the prices, then `dailies check`"))


def _refuse_a_second(settings: Settings, provider: str, model: str) -> None:
    """Refuse a second entry: only one of the two would be used, perhaps the one without prices."""
    declared = {(endpoint.provider, endpoint.id) for endpoint in Catalogue.load(settings.data / "models")}
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


def _known(provider: str | None) -> None:
    if provider is not None and provider not in ACCOUNTS:
        raise ConfigurationError(f"there is no provider {provider!r}; allowed: {', '.join(ACCOUNTS)}")


def _with_keys(settings: Settings, wanted: str | None) -> list[str]:
    _known(wanted)
    names = [
        name for name in ACCOUNTS if wanted in {None, name} and settings.account(name).api_key is not None
    ]
    if not names:
        variables = " or ".join(KEY_VARIABLES[name] for name in ACCOUNTS if wanted in {None, name})
        raise ConfigurationError(
            f"no account has a key, so no provider can be asked. Set {variables}, or use the sandbox's key."
        )
    return names


def _catalogue(settings: Settings) -> Catalogue:
    catalogue = Catalogue.load(settings.data / "models")
    for problem in catalogue.problems:
        complain(str(problem))
    return catalogue


def price_in_words(endpoint: Endpoint) -> str:
    """A price such as `$0.10/s`, `$0.30 to $0.70/s`, `at most $0.40` or `unknown, quoted live`."""
    pricing = endpoint.pricing
    rates = sorted(set(pricing.rates.values())) or ([pricing.usd] if pricing.usd is not None else [])
    if not rates:
        return "unknown, quoted live"
    low, high = rates[0], rates[-1]
    words = f"${low}" if low == high else f"${low} to ${high}"
    words += "/s" if pricing.per == "second" else ""
    return f"at most {words}" if pricing.basis == "upper_bound" else words


def _seconds(endpoint: Endpoint) -> str:
    parameter = endpoint.parameters.get(endpoint.output.seconds or "duration")
    if parameter is None:
        return ""
    if parameter.allowed:
        return " ".join(map(str, parameter.allowed))
    return f"{parameter.min} to {parameter.max}" if parameter.min is not None else ""


def as_document(endpoint: Endpoint, today: dt.date) -> dict[str, Any]:
    """One endpoint for machines: its file, and what follows from it today."""
    prices = {value: str(rate) for value, rate in endpoint.pricing.rates.items()}
    return {
        **endpoint.model_dump(mode="json", exclude_none=True),
        "retired": endpoint.lifecycle.retired(today),
        "warning": endpoint.lifecycle.warning(today),
        "default_price_usd": None
        if (price := endpoint.price(sample_body(endpoint))) is None
        else str(to_usd(price)),
        "rates_usd": prices,
        "common_words": sorted(endpoint.common_words),
    }


def _table(endpoints: list[Endpoint], today: dt.date) -> Table:
    table = _plain_table("endpoint", "provider", "price", "seconds", "state", "checked")
    for endpoint in endpoints:
        warning = endpoint.lifecycle.warning(today)
        retired = endpoint.lifecycle.retired(today)
        state = Text(
            (warning or "live").removeprefix("is ").replace(" by its provider", ""),
            style="red" if retired else "yellow" if warning else "green",
        )
        table.add_row(
            endpoint.id,
            endpoint.provider,
            price_in_words(endpoint),
            _seconds(endpoint),
            state,
            str(endpoint.checked),
        )
    return table


def _plain_table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _print_drifts(found: list[Drift], checked: int) -> None:
    serious = sum(drift.matters for drift in found)
    if found:
        table = _plain_table("endpoint", "what", "catalogue", "provider")
        for drift in sorted(found, key=lambda d: (not d.matters, d.endpoint)):
            style = "" if drift.matters else "dim"
            row = (drift.endpoint, drift.field, drift.ours, drift.theirs)
            table.add_row(*(Text(word, style=style) for word in row))
        console.print(table)
    if serious:
        complain(f"{counted(serious, 'difference')} in {counted(checked, 'endpoint')}; correct data/models")
    else:
        console.print(f"{counted(checked, 'endpoint')} compared; all as in the catalogue")
