"""Stages on a Ray cluster. Only what needs one imports Ray itself, so nothing of it is imported without."""
