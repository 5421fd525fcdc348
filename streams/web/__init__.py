"""HTTP servers of processes that are no workers."""
