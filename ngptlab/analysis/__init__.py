"""What finished runs say beyond a plain comparison. Reads run directories, trains nothing, imports no torch."""
