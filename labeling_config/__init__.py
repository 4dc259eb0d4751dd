"""What Label Studio needs from us: the two templates, the contract of their names and values, and the plugin."""
