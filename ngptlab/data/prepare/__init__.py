"""The work that turns text into shards, and goes on after a stop."""
