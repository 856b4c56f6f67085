"""Fast forms of the functions in `nn.functions`; `nn.forms` says where each is used.

A form takes what the plain function takes and gives the same result, except for rounding. It returns None for inputs that it
does not take, and then the plain formula is used.
"""
