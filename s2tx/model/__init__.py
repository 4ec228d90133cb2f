"""The network. It knows no files, no pandas and no MLflow."""
