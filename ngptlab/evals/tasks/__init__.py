"""Downstream tasks on local files: one YAML a task for lm-eval, and what reads their rows."""
