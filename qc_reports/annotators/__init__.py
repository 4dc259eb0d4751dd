"""One annotator at a time: answers in, figures, flags and what reviews said of them out.

- `statistics.annotator_stats(answers, quality)`: the figures, each with its interval.
- `examine.examine(answers, stats, quality, ...)`: where flags are decided, over all people and tests together.
- `own_answers`, `against_others`, `change_point`, `copies`: the tests; `flag.standing(tests)`: which of them accuse.
- `clock`: claims against the server's clock.
- `protocol`: the protocol's plain limits; `gold`: whether gold can be trusted.
- `reviews.review_status(flags, reviews)`: who still needs a review, who was kept, who was left out.
- `error_patterns.findings(answers, truth)`: what somebody who was not certified should practise.
"""
