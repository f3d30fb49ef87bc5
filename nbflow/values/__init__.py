"""Values: what kinds there are, how large, how they look, and how they travel."""
