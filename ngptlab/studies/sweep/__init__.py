"""A grid of runs over methods, rules, widths, learning rates and seeds: does the best learning rate move with width?"""
