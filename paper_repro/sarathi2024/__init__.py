"""Sarathi-Serve (OSDI 2024): prompts in pieces behind the decodes."""
