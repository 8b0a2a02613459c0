"""Why work-conserving policies are stable: the drift of full batches."""
