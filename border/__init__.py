"""What clients send, read strictly: JSON within bounds, and numbers in ASCII digits. Knows no HTTP and no account."""
