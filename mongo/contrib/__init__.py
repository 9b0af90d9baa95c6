"""Django's own apps on MongoDB: their configs, and the migrations that make their collections and indexes."""
