"""Checkpoints: LLaVA's own layouts converted, processors built, random weights at full shape."""
