"""What a request costs, and the life of its credits: price, hold, record, settlement."""
