"""What would be bought, reused, adopted, held or refused, and what it would cost: asked before anybody decides."""

from resources.planning.due import Wanted, wanted
from resources.planning.plan import Plan, PlannedClip, Planning, Verb

__all__ = ["Plan", "PlannedClip", "Planning", "Verb", "Wanted", "wanted"]
