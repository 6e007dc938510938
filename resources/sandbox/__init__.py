"""A local stand-in for the providers: it speaks their wire formats and returns real MP4s, for no key and no money.

It belongs here if a provider would do it: its rules and prices, its jobs and their timing, its bill, its CDN, its faults. It shares
errors, money and the guard of its pages with the product and nothing else, so that the two can disagree.
"""

from resources.sandbox.app import create_app
from resources.sandbox.faults import FaultRule, FaultScript
from resources.sandbox.server import RunningSandbox, running_sandbox
from resources.sandbox.settings import SandboxSettings

__all__ = ["FaultRule", "FaultScript", "RunningSandbox", "SandboxSettings", "create_app", "running_sandbox"]
