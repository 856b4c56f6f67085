"""Condition numbers and spectra of the weight matrices."""
