"""Checkpoints that come from elsewhere."""
