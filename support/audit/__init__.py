"""The audit trail: who did what, when and why, and what was refused."""
