"""The speed-up: how many times a method's tokens the baseline needs to reach the method's loss."""
