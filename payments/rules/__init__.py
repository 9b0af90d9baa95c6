"""What money that arrived, or went back, does to the order, the balance and the event."""
