"""An answer on its way from the upstream to the client, billed whatever way it ends."""
