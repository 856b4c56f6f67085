"""A board: methods ranked at equal tokens and equal budgets of tuning, over fresh seeds that chose nothing."""
