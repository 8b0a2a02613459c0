"""Kumar and Meyn (1995): networks proved stable by quadratic functions."""
