"""How far people agree, and where they do not. Votes (pair → annotator → answer) in, figures with intervals out.

- `coefficients`: Krippendorff's alpha, Cohen's kappa (Cohen 1960) and their bootstrap.
- `parts.parts(answers, ...)`: alpha by task type, stratum, tiers, quartiles and over time.
- `contested.contested_pairs(answers, ...)`: the pairs on which answers differ most.
- `pair_model.fit_pairs(votes, ...)`: Dawid-Skene with difficulty (Dawid & Skene 1979).
- `ceiling.noise_ceiling(preferences, answers, ...)`: what a model that is always right would score on these labels.
- `exact_tests`: binomial tests and intervals, false discoveries (Benjamini & Hochberg 1995), change points.
"""
