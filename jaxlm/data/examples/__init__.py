"""Labelled examples: read from the files that people have, with every bad record counted and named."""
