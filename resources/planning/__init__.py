"""Plans: what a decision would buy, reuse, adopt, hold or refuse, and its cost. A plan changes nothing."""

from resources.planning.choice import Chooser, chosen_purchases
from resources.planning.draft_ways import DraftWay
from resources.planning.due import DueClip, Selection, due_clips
from resources.planning.edits import Edit, edits
from resources.planning.finishes import FinishOffer, offer_finish
from resources.planning.plan import AS_DECLARED, Plan, PlannedClip, Planning, TakesAsked, Verb
from resources.planning.selectors import Days

__all__ = [
    "AS_DECLARED",
    "Chooser",
    "Days",
    "DraftWay",
    "DueClip",
    "Edit",
    "FinishOffer",
    "Plan",
    "PlannedClip",
    "Planning",
    "Selection",
    "TakesAsked",
    "Verb",
    "chosen_purchases",
    "due_clips",
    "edits",
    "offer_finish",
]
