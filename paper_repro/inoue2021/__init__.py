"""Inoue, dynamic batching on a GPU (arXiv:1912.06322): a queue that is served all at once."""
