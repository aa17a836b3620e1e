"""Text and token ids: tokenizers, how they are trained, saved and loaded, and decoding as tokens arrive."""
