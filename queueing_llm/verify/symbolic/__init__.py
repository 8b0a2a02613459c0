"""Proofs about batch rules for any number of requests."""
