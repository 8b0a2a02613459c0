"""Dai and Vande Vate (2000): when two stations are stable whatever is served first."""
