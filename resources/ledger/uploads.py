"""Uploads of local files to an account's storage: each content is uploaded once until its upload expires."""

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from resources.file_references import FileReference
from resources.ledger.database import insert_ignoring
from resources.ledger.ledger import Ledger
from resources.ledger.schema import NOT_DELIVERED, attempts, uploads
from resources.ledger.states import AttemptState
from resources.ledger.times import has_passed

CLAIM_SECONDS = 400.0
"""The lease of a claimed upload: longer than the upload's own deadline."""


@dataclass(frozen=True)
class Claim:
    """The state of a file's upload at an account. Without `url` and with `mine` false, another process is uploading it."""

    url: str | None
    """The uploaded file's address; None if no upload is valid."""
    mine: bool
    """Whether the caller uploads the file now."""


def address(ledger: Ledger, account: str, sha256: str) -> str | None:
    """The address of a content at an account; None if no upload of it is valid."""
    with ledger.read() as connection:
        return connection.execute(
            sa.select(uploads.c.url).where(
                uploads.c.account == account,
                uploads.c.sha256 == sha256,
                uploads.c.expires_at > ledger.clock(),
            )
        ).scalar()


def claim(ledger: Ledger, account: str, sha256: str) -> Claim:
    """Find a valid upload, or claim the upload unless another process has claimed it."""
    mine = (uploads.c.account == account, uploads.c.sha256 == sha256)
    with ledger.write() as connection:
        now = ledger.clock()
        connection.execute(insert_ignoring(connection, uploads).values(account=account, sha256=sha256))
        row = connection.execute(sa.select(uploads).where(*mine).with_for_update()).one()
        if row.url is not None and row.expires_at > now:
            return Claim(row.url, mine=False)
        if not has_passed(row.claimed_until, now, within=CLAIM_SECONDS):
            return Claim(None, mine=False)
        connection.execute(
            sa.update(uploads)
            .where(*mine)
            .values(claimed_until=now + CLAIM_SECONDS, url=None, expires_at=0.0)
        )
        return Claim(None, mine=True)


def record(ledger: Ledger, account: str, sha256: str, url: str | None, *, lives_seconds: float) -> None:
    """End a claim: record the content's address and lifetime, or None if the upload failed."""
    with ledger.write() as connection:
        connection.execute(
            sa.update(uploads)
            .where(uploads.c.account == account, uploads.c.sha256 == sha256)
            .values(
                url=url,
                expires_at=0.0 if url is None else ledger.clock() + lives_seconds,
                claimed_until=0.0,
            )
        )


def forget(ledger: Ledger, account: str, contents: Collection[str]) -> None:
    """Expire uploads after a provider refused a request with them, so that the next request uploads the files again."""
    with ledger.write() as connection:
        connection.execute(
            sa.update(uploads)
            .where(uploads.c.account == account, uploads.c.sha256.in_(list(contents)))
            .values(expires_at=0.0)
        )


def needed(ledger: Ledger, account: str, *, limit: int) -> list[FileReference]:
    """The files of the next clips in an account's queue, each content once."""
    with ledger.read() as connection:
        rows = connection.execute(
            sa.select(attempts.c.request)
            .where(
                NOT_DELIVERED,
                attempts.c.account == account,
                attempts.c.state == AttemptState.QUEUED.value,
                sa.cast(attempts.c.request, sa.Text).like("%#sha256=%"),
            )
            .order_by(attempts.c.seq)
            .limit(limit)
        ).scalars()
        by_file: dict[str, FileReference] = {}
        for row in rows:
            for reference in FileReference.of(row["body"]):
                by_file.setdefault(reference.sha256, reference)
        return list(by_file.values())
