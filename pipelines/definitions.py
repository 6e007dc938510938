"""Dagster's definitions with the resources of the environment: the module that code servers and run workers load."""

import sys

from pipelines.code_location import build_defs
from resources.garbage import collect_rarely
from resources.log_lines import use_setting

# The process that holds the code and each run worker are started with this module's name. A process of others that merges these
# definitions into its own is not: its garbage may be large, as tables are.
if __name__ in " ".join([*sys.orig_argv, *sys.argv]):
    collect_rarely()
use_setting()

defs = build_defs()
