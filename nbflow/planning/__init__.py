"""How a flow is cut into the tasks that Dask gets, and what each of them is told."""
