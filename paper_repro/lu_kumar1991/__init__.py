"""Lu and Kumar (1991): buffer priorities that keep a line stable, and some that do not."""
