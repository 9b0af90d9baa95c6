"""MongoDB under Django; knows no credit and no account."""
