"""The record of all runs on disk, in a SQLite file."""
