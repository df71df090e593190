"""From addresses and folders to verified tars with a manifest."""
