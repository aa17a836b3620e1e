"""Exact measurement: every example or token counts once."""
