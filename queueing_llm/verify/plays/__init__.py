"""What a policy or a scheduler is asked and what it answers, in small experiments."""
