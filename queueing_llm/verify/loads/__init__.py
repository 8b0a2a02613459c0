"""Contracts at a given load: the backlog falls, and the policy keeps up."""
