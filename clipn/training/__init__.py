"""Train the "No" text encoder, and the small CLIP of the miniature world."""
