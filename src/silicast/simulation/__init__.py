"""A serving scenario: its file, the traffic it draws, and the answer of a simulated run."""

from silicast.simulation.answer import Simulation
from silicast.simulation.scenario import Scenario, read_scenario, scenario_of
from silicast.simulation.traffic import Drawn, draw

__all__ = ["Drawn", "Scenario", "Simulation", "draw", "read_scenario", "scenario_of"]
