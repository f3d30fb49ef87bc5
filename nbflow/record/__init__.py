"""What is known of a run: its events, what they fold to, and what follows from that."""
