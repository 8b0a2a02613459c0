"""Zhang et al., exclusive or mixed batches (arXiv:2606.00516): when to keep phases apart."""
