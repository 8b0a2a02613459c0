"""Guldogan et al., multi-bin batching (arXiv:2412.04504): batches of equals in length."""
