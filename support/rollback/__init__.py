"""Going back to the replaced programs: what they read is made true again, and what the dual credits brought removed."""
