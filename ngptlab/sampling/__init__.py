"""A trained model goes on from a text."""
