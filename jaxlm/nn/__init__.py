"""Flax modules and the functions they are made of; nothing here knows of tasks, data or training."""
