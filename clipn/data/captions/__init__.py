"""The list of training images and their captions."""
