"""Training: the state, the step, the loop, and the record of a run that they leave behind."""
