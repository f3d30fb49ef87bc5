"""Results as files that are named by their hash, and what workers leave beside them."""
