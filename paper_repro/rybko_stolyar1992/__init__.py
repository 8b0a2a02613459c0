"""Rybko and Stolyar (1992): two stations, two types of calls, and a priority that fails."""
