"""Which methods reach a loss, at what cost."""
