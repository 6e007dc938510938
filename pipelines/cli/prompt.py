"""`dailies prompt`: a clip's request as it would be sent, with its price, and addresses without their query. Sends nothing."""

import json
from typing import Any

from rich.markup import escape
from rich.table import Table

from pipelines.cli.terminal import console, tell
from resources.money import show_usd, to_usd
from resources.orders import ClipRequest, shown_body


def show(request: ClipRequest) -> None:
    """Print a request for a person."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    parameters = {name: value for name, value in shown_body(request.body).items() if name != "prompt"}
    table.add_row("clip", request.clip)
    table.add_row("endpoint", f"{request.endpoint} ({request.provider})")
    for name, value in parameters.items():
        table.add_row(name, escape(value if isinstance(value, str) else json.dumps(value)))
    if request.edited is not None:
        table.add_row("other words", escape(str(request.edited)))
    unknown = "unknown; the provider quotes it before the purchase"
    table.add_row("price", unknown if request.price_micros is None else show_usd(request.price_micros))
    if request.takes > 1:
        table.add_row("takes", f"{request.takes}, each at this price")
    if (finish := request.planned_finish) is not None:
        way = "" if request.finish is None else request.finish.way
        made_by = f"{finish.endpoint} ({finish.provider}), {way}, price {show_usd(finish.price_micros)}"
        table.add_row("finish", f"of a circled draft: {made_by}")
    for choice in (finish or request).fallbacks:
        price = show_usd(choice.price_micros)
        table.add_row("or else", f"{choice.endpoint} ({choice.provider}), price {price}")
    if request.cast:
        table.add_row("cast", ", ".join(f"{name} ({made})" for name, made in request.cast.items()))
    table.add_row("length", f"{len(request.prompt):,} characters")
    table.add_row("fingerprint", request.fingerprint)
    console.print(table)
    console.print()
    tell(request.prompt)


def document(request: ClipRequest) -> dict[str, Any]:
    """The request as JSON; money is exact text in USD."""
    price = request.price_micros
    return {
        "clip": request.clip,
        "series": request.series,
        "provider": request.provider,
        "endpoint": request.endpoint,
        "prompt": request.prompt,
        "edited": None if request.edited is None else request.edited.model_dump(mode="json"),
        "request": shown_body(request.body),
        "price_usd": None if price is None else str(to_usd(price)),
        "takes": request.takes,
        "expected": request.expected.model_dump(mode="json"),
        "fallbacks": [
            choice.model_dump(mode="json") | {"body": shown_body(choice.body)} for choice in request.fallbacks
        ],
        "cast": request.cast,
        "finish": None if request.finish is None else request.finish.model_dump(mode="json"),
        "fingerprint": request.fingerprint,
    }
