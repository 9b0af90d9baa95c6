"""Pages that belong to no single collection."""
