"""Measurements of what a training step costs, as commands. Figures apart, in `plots`."""
