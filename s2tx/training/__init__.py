"""One loop, one checkpoint, one format of a trained model."""
