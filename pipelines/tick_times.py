"""The durations and last beginnings of our sensors' ticks, read from Dagster's storage for `/metrics`."""

import logging
import time

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorType

from resources.metrics import TickTime

logger = logging.getLogger("dailies")


def tick_times(instance: dg.DagsterInstance, location: str) -> list[TickTime]:
    """The newest tick of each sensor that is on; empty if Dagster's storage does not answer.

    It makes one query for each sensor, which reads two rows.

    Args:
        location: The name of our code location, since others may share the Dagster.
    """
    try:
        sensors = [
            state
            for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
            if state.is_running and state.origin.location_name == location
        ]
        ticks_of = {
            state.instigator_name: instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=2)
            for state in sensors
        }
    except Exception as error:  # noqa: BLE001 - the ledger's metrics are shown even if the storage raises
        logger.warning("the sensors' ticks could not be read from Dagster: %s", type(error).__name__)
        return []
    now = time.time()
    times = []
    for name, ticks in sorted(ticks_of.items()):
        ended = [tick.end_timestamp - tick.timestamp for tick in ticks if tick.end_timestamp is not None]
        if ticks:
            age = max(0.0, now - max(tick.timestamp for tick in ticks))
            times.append(TickTime(name, age, max(0.0, ended[0]) if ended else None))
    return times
