"""All use of private or undocumented parts of other libraries, one file per library (``tests/unit/test_upstream.py``).

These are private names, and modules that the library's reference pages do not describe. Each file says which version it
was checked against and which of our functions breaks if the part changes. No other module of poolwise uses such parts.
"""
