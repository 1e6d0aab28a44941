"""The command line: one file per command; each parses its options, calls one library function, and prints."""
