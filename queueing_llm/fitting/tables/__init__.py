"""Packaged tables of fitted laws; ``python -m queueing_llm.fitting.tables`` makes them anew."""
