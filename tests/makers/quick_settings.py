"""The plugin's settings with a cheap hash of passwords: tests sign in some hundred times, at 0.2 s of CPU each."""

import os

# Label Studio asks Django for settings while these are imported, and must get what they hold so far
os.environ["DJANGO_SETTINGS_MODULE"] = "labeling_config.plugin.settings"
from labeling_config.plugin.settings import *  # noqa: F403

os.environ["DJANGO_SETTINGS_MODULE"] = __name__
PASSWORD_HASHERS = ["quick_hasher.QuickHasher"]
