"""The frozen CLIP, its two towers, and the "No" text encoder."""
