"""The sections of a recipe and their checks; ``config`` has the recipe itself, and exports all of them."""
