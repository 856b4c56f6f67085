"""Measurements of a trained model. Each is a folder with its measurement, its output and its verb, and is found there."""
