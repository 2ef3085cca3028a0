"""How many completions are enough: Bayesian inference of the law of scores, and decisions by it."""
