"""The ML backend that Label Studio talks to (`app`), its status page and its metrics."""
