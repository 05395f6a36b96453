"""Measurements of the course, each a program of its own; ``all.py`` runs those of the table in README.md."""
