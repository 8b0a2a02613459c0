"""Orca (OSDI 2022): forming the batch anew at each iteration."""
