"""Bailey (1954): a queue that is served in batches at regular epochs."""
