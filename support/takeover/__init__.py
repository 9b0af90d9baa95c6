"""Taking over the database of the replaced system: what is there, what has to be decided, and doing it."""
