"""A local stand-in for the providers: it speaks their wire formats and returns real MP4s, for no key and no money.

The providers' behaviour belongs here: rules and prices, jobs and their timing, the bill, the CDN, faults. The sandbox shares only
errors, money and the guard of its pages with the product, so that both cannot make the same mistake.
"""

from resources.sandbox.app import create_app
from resources.sandbox.faults import FaultRule, FaultScript
from resources.sandbox.server import RunningSandbox, running_sandbox
from resources.sandbox.settings import SandboxSettings

__all__ = ["FaultRule", "FaultScript", "RunningSandbox", "SandboxSettings", "create_app", "running_sandbox"]
