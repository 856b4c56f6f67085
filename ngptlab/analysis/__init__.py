"""What runs and models say: numbers, figures and verdicts."""
