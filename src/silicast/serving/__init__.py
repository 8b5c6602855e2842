"""Requests over time. The steady state is closed form; it knows means only."""
