"""What Label Studio needs from us: the templates, the names they use, the guidelines, and the plugin."""

STUDIO_VERSION = "1.23.2"
"""The Label Studio that the templates and the plugin were made for and are tested with."""
