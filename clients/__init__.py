"""Real clients, as their users install them, against the platform as it runs. `make clients` starts it."""
