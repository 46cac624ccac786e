"""The embedded mini model: drawn scenes with known answers, a small LLaVA in HuggingFace's classes, its training."""
