"""Arrays in, tests and intervals out: numpy and scipy only, no records."""
