"""The audit trail: who did what, when and why; what was refused, too."""
