"""What a model learns: from examples to a batch, from a batch to a loss. One file a task."""
