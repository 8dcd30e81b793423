"""The robot user, annotated images, training clicks, data folders, drawing: what surrounds solution.py."""
