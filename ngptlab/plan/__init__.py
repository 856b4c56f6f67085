"""What a training would take, computed without training.

memory.py   weights, gradients, moments, activations, logits of one step
data.py     which tokens are there, how often each would be met, and the command that gets what is missing
plan.py     all of it for every arm of a recipe
"""
