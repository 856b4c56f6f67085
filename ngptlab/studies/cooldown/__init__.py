"""Cooldowns of several lengths and shapes, branched off one trunk."""
