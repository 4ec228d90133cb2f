"""Measurements as commands: each prints and writes ``results/*.json`` with its receipt."""
