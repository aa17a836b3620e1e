"""Text from a model: prefill, cached decoding, sampling, streaming."""
