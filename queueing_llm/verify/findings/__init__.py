"""What was found out, as text, as a page, and as files that are played again."""
