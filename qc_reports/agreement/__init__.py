"""How far people agree: Krippendorff's alpha, Cohen's and Fleiss' kappa, each with its interval."""
