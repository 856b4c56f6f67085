"""What every method must satisfy, whatever fills its seams: a function a check. Tests and `ngptlab try` call them."""
