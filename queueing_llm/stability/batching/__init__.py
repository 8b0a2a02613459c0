"""Batches of one phase against mixed ones, by a model of their costs."""
