"""Cooldowns of several lengths and shapes from one trunk: which runs that takes (`plan`), and training them (`study`).
What the runs then say is read in `analysis`.
"""
