"""From votes to one label per pair: majority, Dawid-Skene, weighted Bradley-Terry, and where they differ."""
