"""The controlled study: a plan of jobs, their execution, and the collection of their records."""
