"""Shipped with poolwise: a small base, tasks and training pairs made from Python's documentation, and graded pairs."""
