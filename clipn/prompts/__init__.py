"""Sentences about classes, word lists, and their text features."""
