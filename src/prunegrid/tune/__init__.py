"""Training with reduction: adapters, whole language models, projectors and reducers' own weights."""
