"""What no policy can exceed: tokens, batches and memory, priced by static planning."""
