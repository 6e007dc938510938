"""Judges the end of all deliveries by the ledger's rows, the bucket's files and the disk."""

import hashlib
import json
import sqlite3
from contextlib import closing

from proof.deliveries.depot import Depot
from proof.laws import Row, delivered_once
from resources.storage.scratch import sweep


def violations(depot: Depot) -> list[str]:
    """The violations, in sentences; empty if every clip was delivered once and nothing is left over."""
    attempts, journal = (_rows(depot, table) for table in ("attempts", "journal"))
    found = [violation.text for violation in delivered_once(attempts, journal)]
    bucket = depot.s3.folder / depot.s3.bucket
    objects = {
        path.relative_to(bucket).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in bucket.rglob("*")
        if path.is_file()
    }
    named: set[str] = set()
    for attempt in attempts:
        clip, key = attempt["subject_key"], f"videos/{attempt['subject_key']}/{attempt['id']}.json"
        if key not in objects:
            found.append(f"{key} is missing")
            continue
        manifest = json.loads((bucket / key).read_bytes())
        named |= {key, f"videos/{clip}/current.json"}
        for part in ("object", "poster", "strip"):
            name = manifest[part]["key"]
            named.add(name)
            if objects.get(name) != manifest[part]["sha256"]:
                found.append(f"{name} differs from its manifest")
        if manifest["object"]["sha256"] != depot.digests[clip]:
            found.append(f"{manifest['object']['key']} differs from the provider's file")
    if len(attempts) != len(depot.digests):
        found.append(f"the ledger has {len(attempts)} of {len(depot.digests)} clips")
    found += [f"{key} is named by no manifest" for key in sorted(set(objects) - named)]
    sweep(depot.scratch)
    found += [f"{path} was left behind" for path in depot.scratch.iterdir()]
    return found


def _rows(depot: Depot, table: str) -> list[Row]:
    with closing(sqlite3.connect(depot.ledger.removeprefix("sqlite:///"))) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY seq")]
