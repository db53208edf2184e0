"""Golden numbers of each method: one module per method, and the recipe they share."""
