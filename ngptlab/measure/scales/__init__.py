"""The learned scales."""
