"""Accuracy on downstream tasks."""
