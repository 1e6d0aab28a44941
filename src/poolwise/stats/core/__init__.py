"""Statistical tests and intervals on plain arrays. Uses numpy and scipy only, no records."""
