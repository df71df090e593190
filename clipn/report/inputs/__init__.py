"""Read what earlier stages wrote."""
