"""Plans: what a decision would buy, reuse, adopt, hold or refuse, and its cost. A plan changes nothing."""

from resources.planning.due import DueClip, Selection, due_clips
from resources.planning.plan import Plan, PlannedClip, Planning, Verb

__all__ = ["DueClip", "Plan", "PlannedClip", "Planning", "Selection", "Verb", "due_clips"]
