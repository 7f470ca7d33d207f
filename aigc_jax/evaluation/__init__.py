"""What is measured of a finished run, by the kind of its data, and the page that shows it."""
