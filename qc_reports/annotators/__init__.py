"""One annotator at a time: figures, tests, flags, reviews, and certification against the expert."""
