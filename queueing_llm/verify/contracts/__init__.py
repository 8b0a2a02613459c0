"""What a policy can promise, and the functions that find out whether it is broken."""
