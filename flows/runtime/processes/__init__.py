"""Child processes that end with their parent, and with everything below them."""
