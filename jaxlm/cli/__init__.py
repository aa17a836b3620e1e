"""The command line: one file a verb, each a thin skin over a public function. JAX is imported only to compute."""
