"""Runs from their start to their end, and what is done with them afterwards."""
