"""How a stage runs, here or elsewhere."""
