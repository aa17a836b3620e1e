"""Devices: how they form a mesh, what is split over them, and how processes find each other."""
