"""What flows are made of, how they are composed, and what they mean in plain Python."""
