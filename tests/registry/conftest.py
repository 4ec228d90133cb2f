"""A tiny project with a store of its own."""

from tests.tiny import empty_store, project, tiny

__all__ = ["empty_store", "project", "tiny"]
