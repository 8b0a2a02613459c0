"""Nie, Si and Zhou, arXiv:2605.04595: the arrival rate that KV memory allows."""
