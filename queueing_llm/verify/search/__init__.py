"""Looking for what breaks a contract: random trials, all small ones, smaller ones."""
