"""`silicast explain MODEL CHIP`: the tree of parts, their laws and tiers, what better one is missing, sources."""

from silicast.cli.forecast import scenario_command
from silicast.report.explain import render

command = scenario_command("explain", render)
