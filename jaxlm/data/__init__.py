"""Where examples come from (files, TFDS builders) and how they become batches that depend on (seed, step) alone."""
