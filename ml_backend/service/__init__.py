"""The ML backend that Label Studio talks to (`app`), its status page and metrics, and the page behind an invitation."""
