"""Programs that made data files of the package; none of them runs in the pipeline."""
