"""Compiled programs, read from their HLO text: what devices compute and say to each other."""
