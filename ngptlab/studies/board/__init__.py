"""A board: methods ranked at equal tokens and equal tuning budgets, over seeds that took no part in tuning."""
