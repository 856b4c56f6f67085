"""A trained model for other libraries and back: `transformers`, its `llama`, and checkpoints of public implementations."""
