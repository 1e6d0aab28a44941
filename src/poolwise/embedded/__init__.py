"""What ships with poolwise: a small base, tasks and training pairs made from Python's documentation, graded pairs."""
