"""The official MongoDB back end, taught to take over collections that already hold documents."""
