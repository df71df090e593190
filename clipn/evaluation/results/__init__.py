"""Results of the evaluation: one dataclass for each kind of result, which writes and reads its JSON."""
