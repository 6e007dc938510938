"""What would be bought, reused, adopted, held or refused, and what it would cost: asked before anybody decides."""

from resources.planning.due import DueClip, wanted
from resources.planning.plan import Plan, PlannedClip, Planning, Verb

__all__ = ["DueClip", "Plan", "PlannedClip", "Planning", "Verb", "wanted"]
