"""Data frame in, data frame out, and the file that MLflow serves."""

from pathlib import Path

SERVE = Path(__file__).with_name("serve.py")  # what `registry.package.register` packages
