"""How many times a method's tokens the baseline needs for its loss."""
