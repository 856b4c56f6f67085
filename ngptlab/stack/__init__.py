"""Many small models of one shape as one program: their losses, their optimizer, and the runs that they belong to."""
