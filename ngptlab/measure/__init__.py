"""What is measured of a model: a folder each, with the measurement, what shows it and its verb. Found by folder."""
