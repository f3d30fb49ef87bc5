"""Pictures, reports and magic: what a flow and a run look like in a notebook."""
