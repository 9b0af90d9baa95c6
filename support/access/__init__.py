"""Who of the staff gets in, and what their roles may do."""
