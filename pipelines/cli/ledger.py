"""`dailies ledger ...`: the account, disputes and orphans; copy the ledger, restore a copy, rebuild it."""

import contextlib
import dataclasses
import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from pipelines.cli.completion import complete_key
from pipelines.cli.panels import PanelledGroup
from pipelines.cli.terminal import (
    Json,
    age,
    complain,
    confirm,
    print_json,
    print_table,
    table_of,
    tell,
)

ledger_app = typer.Typer(
    cls=PanelledGroup, rich_markup_mode=None, help="Show the account; copy, restore or rebuild the ledger."
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from resources.ledger.ledger import Ledger
    from resources.ledger.lost.orphans import Orphan
    from resources.production.ledger_rebuild import Rebuilt
    from resources.settings import Settings


@ledger_app.callback(invoke_without_command=True)
def show_account(
    context: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Read the providers' bills first, and compare job by job.")
    ] = False,
    days: Annotated[int, typer.Option(help="How far back --check goes, in days.", min=1, max=60)] = 7,
    as_json: Json = False,
    as_csv: Annotated[
        str | None, typer.Option("--csv", metavar="FILE", help="Write every purchase as CSV; - prints it.")
    ] = None,
) -> None:
    """Show the account by state of money, series, endpoint and day; with --check, also what is unaccounted for."""
    if context.invoked_subcommand is not None:
        return
    from pipelines.cli import statement
    from pipelines.cli.stack_settings import running_settings
    from resources.settings import open_ledger

    settings = running_settings()
    account = statement.report(settings, check=check, days=days)
    if as_csv is not None:
        with open_ledger(settings) as ledger:
            written = statement.write_csv(ledger, as_csv)
        if as_csv != "-":
            tell(f"{written} purchases are in {as_csv}")
    elif as_json:
        print_json(statement.document(account))
    else:
        statement.show(account)
    if account.is_wrong:
        raise typer.Exit(1)


@ledger_app.command()
def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with 1 if there is something to migrate.")
    ] = False,
) -> None:
    """Bring the ledger's schema up to date before programs of this version start. Otherwise the first of them does so."""
    from resources.ledger.database import SCHEMA_REVISION, open_database, schema_state
    from resources.settings import load_settings

    url = load_settings().ledger_url
    state = schema_state(url)
    before = "there is no ledger yet" if state.revision is None else f"the ledger has schema {state.revision}"
    if not check:
        open_database(url).dispose()
        after = f"it has {SCHEMA_REVISION} now" if state.is_behind else "nothing had to be done"
        tell(f"{before}; {after}")
        return
    oldest = f"; programs from schema {state.oldest_reader} on may work on it" if state.oldest_reader else ""
    tell(f"{before}, this program knows {SCHEMA_REVISION}{oldest}")
    if state.is_behind:
        raise typer.Exit(1)


@ledger_app.command()
def backup(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="The file to write, which must not exist; without one, the bucket gets the copy."
        ),
    ] = None,
) -> None:
    """Copy the ledger, even while it is in use, into a file, or into the bucket and verify that copy by restoring it."""
    from resources.ledger.backup import back_up
    from resources.settings import load_settings

    if file is not None:
        size = back_up(load_settings().ledger_url, file)
        tell(f"the ledger is in {file} ({size:,} bytes)")
        return
    from pipelines.cli.bucket import bucket_of
    from pipelines.cli.stack_settings import running_settings
    from resources.production.ledger_copies import store_copy
    from resources.settings import open_ledger

    settings = running_settings()
    with open_ledger(settings) as ledger, bucket_of(settings) as bucket:
        scratch = settings.home.absolute() / "tmp"
        record = store_copy(ledger, bucket.store, settings.copied_url, scratch=scratch)
        tell(
            f"the ledger is in {bucket.store.uri(record.key)} ({record.size:,} bytes); the copy was restored and compared"
        )


@ledger_app.command()
def backups(
    copy: Annotated[
        str | None, typer.Argument(help="The copy for --to, as listed; without one, the newest verified.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="Write a copy into a new file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the ledger's copies in the bucket, newest first; with --to, fetch one."""
    import time

    from pipelines.cli.bucket import bucket_of
    from pipelines.cli.stack_settings import running_settings
    from resources.errors import ConfigurationError
    from resources.production.ledger_copies import copies, fetch_copy

    with bucket_of(running_settings()) as bucket:
        stored = copies(bucket.store)[::-1]
        if to is not None:
            usable = [one for one in stored if one.is_verified and copy in {None, one.name}]
            if not usable:
                raise ConfigurationError(
                    f"there is no verified copy {copy or ''} in {bucket.store.uri('')}. `dailies ledger backups` lists them."
                )
            fetch_copy(bucket.store, usable[0], to)
            tell(f"{usable[0].name} is in {to}")
            return
    if as_json:
        print_json([dataclasses.asdict(one) for one in stored])
        return
    if not stored:
        tell("there is no copy of the ledger in the bucket; `dailies ledger backup` makes one")
        return
    table = table_of("copy", "age", "bytes", "verified", right={"age", "bytes"})
    for one in stored:
        table.add_row(
            one.name, age(time.time() - one.at), f"{one.size:,}", "yes" if one.is_verified else "no"
        )
    print_table(table)


@ledger_app.command()
def restore(file: Annotated[Path, typer.Argument(help="A copy that `dailies ledger backup` made.")]) -> None:
    """Replace the ledger with a copy; the replaced ledger is kept beside it. End `dailies up` first."""
    from resources.ledger.backup import restore as put_back
    from resources.settings import load_settings

    settings = load_settings()
    _refuse_beside_stack(settings)
    aside = put_back(settings.ledger_url, file)
    tell(f"{file} is the ledger now" + (f"; the old one is kept as {aside}" if aside else ""))
    tell("It may not know later purchases. Run `dailies ledger rebuild` next; until then nothing is bought.")


@ledger_app.command()
def rebuild(
    take_over: Annotated[
        bool, typer.Option("--take-over", help="The bucket's own ledger is lost, and this one replaces it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read back what was bought from the bucket, the listings and the bills, so that the ledger may buy again.

    End `dailies up` first.
    """
    import asyncio

    from pipelines.cli.stack_settings import running_settings
    from resources.production.ledger_rebuild import report

    settings = running_settings()
    _refuse_beside_stack(settings)
    rebuilt = asyncio.run(_rebuild(settings, take_over=take_over, quiet=as_json))
    if as_json:
        print_json({**dataclasses.asdict(rebuilt), "may_buy": rebuilt.may_buy})
    else:
        for line in report(rebuilt):
            tell(line)
    if not rebuilt.may_buy:
        raise typer.Exit(1)


@ledger_app.command()
def disputed(
    which: Annotated[
        str | None,
        typer.Argument(
            help="A clip, or the start of a purchase's id; without one, all are listed.",
            autocompletion=complete_key,
        ),
    ] = None,
    accept: Annotated[bool, typer.Option("--accept", help="Book the amount as the provider says.")] = False,
    why: Annotated[str | None, typer.Option(help="The reason, for the journal.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """List disputed charges and refunds, and accept one as true."""
    from pipelines.cli.clip_table import as_document
    from resources.errors import ConfigurationError, DailiesError
    from resources.ledger import disputes
    from resources.money import show_usd, to_usd
    from resources.settings import load_settings, open_ledger

    with open_ledger(load_settings()) as ledger:
        open_ones = [
            one
            for one in disputes.open_disputes(ledger)
            if which is None or one.attempt.subject_key == which or one.attempt.id.startswith(which)
        ]
        if accept:
            if which is None:
                raise ConfigurationError("name the clip or purchase to settle. Nothing was changed.")
            if len(open_ones) != 1:
                raise DailiesError(
                    f"{len(open_ones)} disputes are about {which}; nothing was changed. `dailies ledger disputed` lists all of them "
                    "with their ids."
                )
            if not yes:
                confirm(f"{open_ones[0]}. Accept it as true?")
            word = why or "a person says that it is true"
            settled = disputes.accept(
                ledger, open_ones[0].attempt.id, who=f"person {getpass.getuser()}", why=word
            )
            if as_json:
                print_json(as_document(settled))
            else:
                tell(f"{settled.subject_key} counts {show_usd(settled.cost_micros)}")
            return
    if as_json:
        print_json(
            [
                {
                    **as_document(one.attempt),
                    "kind": one.kind.value,
                    "source": one.source,
                    "ordered_usd": str(to_usd(one.attempt.quoted_micros)),
                    "charged_usd": str(to_usd(one.charged_micros)),
                    "refunded_usd": str(to_usd(one.refunded_micros)),
                    "since": one.at,
                }
                for one in open_ones
            ]
        )
    elif not open_ones:
        tell("nothing is disputed")
    for one in [] if as_json else open_ones:
        tell(str(one))


@ledger_app.command("orphans")
def show_orphans(as_json: Json = False) -> None:
    """List jobs at the providers that this ledger did not order. A sweep looks for them every hour."""
    from resources.ledger.lost.orphans import orphans
    from resources.settings import load_settings, open_ledger

    with open_ledger(load_settings()) as ledger:
        listed = orphans(ledger)
        now = ledger.clock()
    if as_json:
        print_json([dataclasses.asdict(orphan) for orphan in listed])
        return
    if not listed:
        tell("all jobs seen at the providers were ordered here")
        return
    table = table_of("account", "job", "seen in", "age", right={"age"})
    for orphan in listed:
        table.add_row(orphan.account, Text(orphan.job_id), orphan.source, age(now - orphan.seen_at))
    print_table(table)


def orphans_in_words(listed: "Iterable[Orphan]", ledger: "Ledger") -> list[str]:
    """A sentence for each account about jobs that nobody ordered."""
    from resources.ledger import keys
    from resources.ledger.lost.orphans import in_words

    jobs: dict[str, list[str]] = {}
    for orphan in listed:
        jobs.setdefault(orphan.account, []).append(orphan.job_id)
    return [
        in_words(account, ids, dedicated=keys.look_up(ledger, account).dedicated)
        for account, ids in sorted(jobs.items())
    ]


def _refuse_beside_stack(settings: "Settings") -> None:
    from pipelines.cli.stack_state import running_stack
    from resources.errors import UnavailableError

    running = running_stack(settings.home)
    if running is not None:
        raise UnavailableError(
            f"`dailies up` (process {running['pid']}) is running with this ledger: end it first. Nothing was changed."
        )


async def _rebuild(settings: "Settings", *, take_over: bool, quiet: bool) -> "Rebuilt":
    from pipelines.cli.bucket import bucket_of
    from resources.production.account import bind_account
    from resources.production.ledger_rebuild import rebuild_ledger
    from resources.providers.accounts import build_provider
    from resources.settings import open_ledger

    accounts = [settings.account(name) for name in settings.account_names]
    ready = [account for account in accounts if account.api_key is not None]
    with contextlib.ExitStack() as stack:
        ledger = stack.enter_context(open_ledger(settings))
        for account in ready:
            bind_account(ledger, account)
        providers = {account.name: build_provider(account) for account in ready}
        if not quiet and len(ready) < len(accounts):
            unread = ", ".join(account.name for account in accounts if account.api_key is None)
            complain(f"no key is set for {unread}, so purchases there are read from the bucket only")
        try:
            return await rebuild_ledger(
                ledger,
                stack.enter_context(bucket_of(settings)).store,
                providers,
                take_over=take_over,
                tell=(lambda _: None) if quiet else (lambda line: tell(f"… {line}")),
            )
        finally:
            for provider in providers.values():
                await provider.aclose()
