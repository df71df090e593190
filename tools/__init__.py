"""Programs around the package, such as the table of rooms and its picture. None runs in the pipeline."""
