"""arXiv:2504.07347v3: its claims, what is obtained for them here, and the figures."""
