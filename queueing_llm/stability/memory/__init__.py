"""What KV memory allows when batches take the same time or hold all residents."""
