"""A grid of runs over methods, rules of parametrization, widths, learning rates and seeds: planned, trained, tabulated."""
