"""A study by simulation: how far training scales, from compiled programs and public figures."""
