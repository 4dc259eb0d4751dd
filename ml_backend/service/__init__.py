"""The ML backend that Label Studio talks to (`app.create_app`), its status page, metrics and live reports."""
