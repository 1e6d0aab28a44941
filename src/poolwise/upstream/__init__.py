"""What we use of other libraries that they do not promise: one file a library (``tests/unit/test_upstream.py``).

Private names, and modules that no reference page of the library describes. Each file says in which version it was read
and which function of ours breaks if it changes. Nothing else in poolwise touches such parts.
"""
