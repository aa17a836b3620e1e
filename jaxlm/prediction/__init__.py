"""What a model says of texts in one pass: vectors, and words for masks."""
