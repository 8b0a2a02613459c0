"""arXiv:2604.11001: its claims, what is obtained for them here, and the figure."""
