"""What happens inside of a Dask task, and beside it on the worker."""
