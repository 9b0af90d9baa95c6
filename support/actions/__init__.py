"""What staff do beyond editing a form: each action with its permission, preview, confirmation and audit entry."""
