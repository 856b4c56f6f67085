"""`python -m ngptlab`: the command line, for launchers that start modules."""

import sys

from ngptlab.cli import main

sys.exit(main())
