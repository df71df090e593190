"""Fetch training images with img2dataset into verified tars."""
