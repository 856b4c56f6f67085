"""The decoder, the parts that fill its seams, and the roles of its parameters."""
