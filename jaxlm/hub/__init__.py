"""Hugging Face directories in and out: one file a family, and what they share."""
