"""Flow `retrain`: the pipeline in a clean checkout, a gate, and a commit of the results if they pass."""
