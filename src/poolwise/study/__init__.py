"""The controlled study: plans jobs, runs them, and collects their records into results."""
