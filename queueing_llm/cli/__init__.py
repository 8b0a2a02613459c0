"""The command ``queueing-llm``."""

from queueing_llm.cli._main import main

__all__ = ["main"]
