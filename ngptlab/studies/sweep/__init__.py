"""A grid of runs over methods, parametrizations, widths, learning rates and seeds: does the best one move with width?"""
