"""Fast forms of the equations."""
