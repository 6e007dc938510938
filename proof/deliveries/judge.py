"""What must be true when all deliveries have ended, read from the ledger's rows, the bucket and the disk."""

import hashlib
import json
from collections import Counter

import sqlalchemy as sa

from proof.deliveries.depot import Depot
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.ledger.schema import journal
from resources.storage.objects import ObjectStore
from resources.storage.scratch import sweep


def violations(depot: Depot) -> list[str]:
    """What is wrong, in sentences; nothing when every clip was delivered once and nothing is left over."""
    found: list[str] = []
    store = ObjectStore(depot.s3.settings)
    with Ledger(depot.ledger, budget=Budget()) as ledger:
        attempts = ledger.overview()
        with ledger.read() as connection:
            rows = connection.execute(
                sa.select(journal.c.attempt_id).where(journal.c.to_state == "delivered")
            )
            delivered = Counter(str(row[0]) for row in rows)
    named: set[str] = set()
    for attempt in attempts:
        if delivered[attempt.id] != 1:
            found.append(f"{attempt.clip} was delivered {delivered[attempt.id]} times; it is {attempt.state}")
            continue
        key = f"videos/{attempt.clip}/{attempt.id}.json"
        data = store.get_bytes(key)
        if data is None:
            found.append(f"{key} is missing")
            continue
        manifest = json.loads(data)
        named |= {key, f"videos/{attempt.clip}/current.json"}
        for part in ("object", "poster", "strip"):
            named.add(manifest[part]["key"])
            content = store.get_bytes(manifest[part]["key"], max_bytes=100_000_000)
            if content is None or hashlib.sha256(content).hexdigest() != manifest[part]["sha256"]:
                found.append(f"{manifest[part]['key']} is not what its manifest says")
        if manifest["object"]["sha256"] != depot.digests[attempt.clip]:
            found.append(f"{manifest['object']['key']} is not what the provider had")
    if len(attempts) != len(depot.digests):
        found.append(f"the ledger knows {len(attempts)} of {len(depot.digests)} clips")
    stray = sorted(set(store.list_keys("")) - named)
    found += [f"{key} is named by no manifest" for key in stray]
    sweep(depot.scratch)
    found += [f"{path} was left behind" for path in depot.scratch.iterdir()]
    return found
