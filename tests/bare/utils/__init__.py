"""What grading and training touch of the course's utils: its names and call shapes, nothing that only ours has."""
