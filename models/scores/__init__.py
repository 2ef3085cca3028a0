"""Laws of verifier scores, each a Pyro program with documented priors."""
