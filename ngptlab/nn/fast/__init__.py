"""Fast forms of what `nn.functions` says plainly; `nn.forms` says where each is used.

A form takes what the plain function takes and gives what it gives, but for rounding. It returns None where these inputs are
not for it; then the plain formula is used.
"""
