"""Statistical methods on arrays: permutation tests, mixed models, reliability."""
