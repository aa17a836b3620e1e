"""How good predictions are: scores by the field's own libraries, from sums over examples."""
