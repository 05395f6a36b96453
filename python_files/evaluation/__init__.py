"""How good a model is: on books, and in its answers."""
