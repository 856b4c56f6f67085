"""From one method to another, seam by seam."""
