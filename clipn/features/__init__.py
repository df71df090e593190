"""From tars to cached features, and looking them up again."""
