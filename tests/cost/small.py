"""A model small enough to count by hand: grouped keys, an MLP width that differs from everything else."""

from prunegrid.shape import LLMShape, ModelShape, ProjectorShape, VisionShape

VISION = VisionShape(
    layers=2,
    width=4,
    heads=2,
    ffn=8,
    image_size=4,
    patch_size=2,
    channels=3,
    prefix=1,
    prefix_kept=0,
    selected=1,
)
LLM = LLMShape(layers=2, width=6, heads=3, kv_heads=1, head_dim=2, ffn=10, vocab=7)
SMALL = ModelShape(VISION, ProjectorShape(4, 6), LLM)  # 4 patches and a class token

# Operators that are products with weights.
LINEAR = (
    "patch_embed",
    "q",
    "k",
    "v",
    "out",
    "fc1",
    "fc2",
    "gate",
    "up",
    "down",
    "linear_1",
    "linear_2",
    "lm_head",
)
