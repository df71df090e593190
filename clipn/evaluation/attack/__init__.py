"""OOD images that are moved towards ID images, and what scores make of them."""
