"""The roof: the command line, the manager's console, the demo and the doctor. Nothing imports it."""
