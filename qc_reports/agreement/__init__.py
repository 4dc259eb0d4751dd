"""How far people agree: Krippendorff's alpha and Cohen's kappa with their intervals, and where they do not agree."""
