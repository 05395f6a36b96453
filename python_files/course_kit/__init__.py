"""What runs the course itself: notebooks, checks of the machine, exercises, pictures."""
