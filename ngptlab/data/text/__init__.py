"""Documents: where text comes from, and how each kind of file is read."""
