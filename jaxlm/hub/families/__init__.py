"""One file a model family: its config.json and its table of tensors."""
