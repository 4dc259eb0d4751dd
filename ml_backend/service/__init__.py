"""The ML backend that Label Studio talks to (`app.create_app`), and the pages that people read (`pages`)."""
