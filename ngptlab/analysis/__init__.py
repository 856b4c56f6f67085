"""What finished runs say: numbers and figures from tables. Imports no torch."""
