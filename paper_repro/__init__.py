"""Papers reproduced: a folder for each, with its claims and the modules of its figures."""
