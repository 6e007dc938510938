"""One clock for everybody: the bench's seconds, so many to a real one.

The product's leases, deadlines and settle times stay as they are shipped; its clock runs faster. The ledger, the providers'
clients and the engine's sleep are given this clock by their own arguments (`Ledger(clock=)`, `WaveSpeed(clock=)`,
`Engine(sleep=)`), and the stand-in's Date header and its jobs live by it too.
"""

import asyncio
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """How the bench's clock runs.

    Attributes:
        origin: Real time at which both clocks showed the same, seconds since the epoch.
        factor: The bench's seconds to a real one.
        skew: By how many of the bench's seconds this process's clock is wrong.
    """

    origin: float
    factor: float
    skew: float = 0.0

    def clock(self) -> float:
        """Seconds since the epoch, by the bench's clock."""
        return self.origin + (time.time() - self.origin) * self.factor + self.skew

    def real(self, seconds: float) -> float:
        """How long so many of the bench's seconds really take."""
        return seconds / self.factor

    async def sleep(self, seconds: float) -> None:
        """Wait so many of the bench's seconds."""
        await asyncio.sleep(self.real(seconds))
