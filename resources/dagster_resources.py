"""The one thin class that knows Dagster: configuration, and the plain clients built from it.

Secrets stay in the environment and are read when a client is built, so that no run's configuration contains one.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field, PrivateAttr

from resources.catalogue import Catalogue, DataFolder
from resources.characters.made import made_characters
from resources.errors import ConfigurationError
from resources.ledger import policy_history
from resources.ledger.limits import Limits
from resources.ledger.outage import PATIENCE_SECONDS, RIDE_OUT_SECONDS, repeat_unrecorded
from resources.production.account import Account, bind_account
from resources.production.bucket_mark import BucketMark, bind_bucket
from resources.production.delivery import Deliverer
from resources.production.engine import Engine
from resources.production.heartbeat import Heartbeat
from resources.production.output_hosts import check_outputs
from resources.production.request_files import RequestFiles
from resources.providers.accounts import build_provider
from resources.series import load_series
from resources.settings import Settings, load_settings, open_ledger
from resources.shared_data.kept_folders import hold
from resources.shared_data.source import bring, checked_digest, folder_of_run, folders_of_unsent
from resources.storage.objects import ObjectStore
from resources.webhooks.tokens import addresses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from resources.ledger.ledger import Ledger
    from resources.series import Declarations
    from resources.series.characters import Made

logger = logging.getLogger("dailies")


class Production(dg.ConfigurableResource[None]):
    """The clients of a run: declarations, ledger, bucket and accounts.

    Their settings come from the environment (see `.env.example`); the fields only change how a run uses them.
    """

    allow_submits: bool = Field(
        default=True,
        description="Whether the completion sensors may send what is queued. Off, they still fetch what was paid for.",
    )

    _heartbeat: Heartbeat | None = PrivateAttr(None)
    _data: Path | None = PrivateAttr(None)
    _held: int | None = PrivateAttr(None)

    @contextlib.contextmanager
    def showing_life(self, run_id: str) -> Iterator[None]:
        """Record that a run lives while one of its steps runs; every step of every job does so.

        Raises:
            resources.ledger.heartbeats.RunLostError: The run was given up before.
        """
        self._heartbeat = heartbeat = Heartbeat(self.ledger, run_id)
        heartbeat.start()
        try:
            yield
        finally:
            heartbeat.stop()
            self._heartbeat = self._data = None
            if self._held is not None:
                os.close(self._held)
                self._held = None

    def settings(self) -> Settings:
        """The settings as they are now, with the data folder of the run."""
        settings = load_settings()
        return settings if self._data is None else settings.reading(self._data)

    def follow_data(self, decision: str) -> None:
        """Read the data folder of which a run's decision was made, until the step's work ends.

        Raises:
            resources.errors.ConfigurationError: This host has another folder. Nothing was bought.
        """
        with self.ledger() as ledger:
            while self._held is None:
                self._data = repeat_unrecorded(folder_of_run, load_settings(), ledger, decision)
                if self._data is None:
                    return
                # a folder that another process removes at this moment is fetched again
                with contextlib.suppress(FileNotFoundError):
                    self._held = hold(self._data)

    def checked_data(self) -> tuple[Path, str | None]:
        """This host's data folder and its digest, if it has one. Once a folder was pushed, this host's must be the current one.

        Raises:
            resources.errors.ConfigurationError: Another one is current.
        """
        with self.ledger() as ledger:
            settings = bring(load_settings(), ledger)
            return settings.data, repeat_unrecorded(checked_digest, settings, ledger)

    def declarations(self) -> Declarations:
        """The series and models of the data folder as they are now."""
        return self.declarations_in((bring(load_settings()) if self._data is None else self.settings()).data)

    def declarations_in(self, data: Path) -> Declarations:
        """The series and models of a given data folder, e.g. of `checked_data`, since a push may change the current folder."""
        return load_series(data, Catalogue.of(data), made=self.characters)

    def characters(self) -> dict[str, Made]:
        """The characters that exist, by name."""
        with self.ledger() as ledger:
            return repeat_unrecorded(made_characters, ledger)

    @contextlib.contextmanager
    def ledger(self, *, patience: float | None = None) -> Iterator[Ledger]:
        """The ledger, closed at the end.

        Args:
            patience: How many seconds to wait for a database that is away; None for the time that a run has, or outside a
                run, a sensor's tick.
        """
        if patience is None:
            patience = PATIENCE_SECONDS if self._heartbeat is None else RIDE_OUT_SECONDS
        with open_ledger(self.settings(), patience=patience) as ledger:
            yield ledger

    def store(self) -> ObjectStore:
        """The bucket."""
        return ObjectStore(self.settings().s3())

    def bound_store(self, ledger: Ledger, *, buying: bool = False) -> ObjectStore:
        """The bucket, after a check that it belongs to the ledger; everything that buys or stores uses this.

        Raises:
            resources.errors.ConfigurationError: Bucket and ledger do not belong together, or the ledger is too old to buy, or this
                host's settings are not the policy in force.
        """
        store = self.store()
        repeat_unrecorded(bind_bucket, ledger, store, buying=buying)
        if buying:
            repeat_unrecorded(policy_history.check, ledger)
        return store

    def check_outputs(self, accounts: Iterable[str]) -> None:
        """Make sure that what is bought from these accounts could be fetched.

        Raises:
            resources.production.output_hosts.OutOfReachError: It could not.
        """
        settings = self.settings()
        check_outputs(map(settings.account, sorted(accounts)), settings.download_policy)

    @contextlib.asynccontextmanager
    async def engine(
        self, ledger: Ledger, accounts: Iterable[str], *, buying: bool = True
    ) -> AsyncIterator[Engine]:
        """An engine for some accounts, closed at the end.

        Args:
            buying: Whether every account is needed. Where nothing is bought, an account that cannot be used is left out: the key of
                a fallback may be gone by the time its clip is fetched.

        Raises:
            resources.errors.ConfigurationError: An account has no usable key or address.
        """
        settings = self.settings()
        ready = {}
        for name in accounts:
            try:
                ready[name] = self._account(settings, ledger, name)
            except ConfigurationError as error:
                if buying:
                    raise
                logger.warning("%s is left out, since nothing is bought here: %s", name, error)
        store = self.store()
        files = RequestFiles(
            DataFolder(settings.data), store, lambda: folders_of_unsent(settings, ledger, store)
        )
        engine = Engine(ledger, ready, mark=BucketMark(ledger, store), files=files)
        try:
            if self._heartbeat is None:
                yield engine
            else:
                async with self._heartbeat.vouched_for(engine):
                    yield engine
        finally:
            await engine.aclose()

    @staticmethod
    def _account(settings: Settings, ledger: Ledger, name: str) -> Account:
        account = settings.account(name)
        repeat_unrecorded(bind_account, ledger, account)
        webhook_url = None
        if settings.webhook_url is not None:
            webhook_url = addresses(ledger, name, settings.webhook_url)
        return Account(
            build_provider(account, clock=ledger.clock, webhook_url=webhook_url),
            Limits(account.max_in_flight, account.submits_per_minute),
            account.submit_deadline_seconds,
            account.settle_seconds,
            account.output_key,
        )

    @contextlib.contextmanager
    def deliverer(self, engine: Engine, store: ObjectStore) -> Iterator[Deliverer]:
        """The deliverer, which fetches, checks and stores clips; its worker process ends with it."""
        settings = self.settings()
        scratch = settings.home.absolute() / "tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        with Deliverer(engine, store, policy=settings.download_policy, scratch=scratch) as deliverer:
            yield deliverer
