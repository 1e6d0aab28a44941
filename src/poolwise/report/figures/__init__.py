"""Figures as inline SVG, one module for each kind."""
