"""Ao, Luo, Simchi-Levi and Wang, arXiv:2504.11320: WAIT, and what eviction costs."""
