"""Size and rank of activations through depth."""
