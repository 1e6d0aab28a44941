"""Item scores of several runs in, one Comparison out: what is tested, with which test, and the verdict."""
