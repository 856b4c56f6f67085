"""A try: does a method conform, and is it better than another one? A small comparison within a budget of time."""
