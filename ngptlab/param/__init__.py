"""Parametrizations: how initial values, learning rates, decay and multipliers depend on width."""
