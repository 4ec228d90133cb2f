"""Measurements as commands: each prints and writes ``results/*.json`` with its receipt."""

import os

# Before torch starts its threads: on a busy machine a spinning one costs far more than it saves.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
