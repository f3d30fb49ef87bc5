"""A flow as a record that any later process reads, and compares with the flow it has."""
