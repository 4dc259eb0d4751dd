"""The roof: the command line, the demo and the doctor. Nothing imports it."""
