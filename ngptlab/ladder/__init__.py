"""From one method to another, seam by seam: which runs that takes (`rungs`), whether they can stand (`standing`), and
training them (`climb`). What the runs then say is read in `analysis`.
"""
