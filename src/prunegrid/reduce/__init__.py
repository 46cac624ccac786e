"""Visual-token reduction for unmodified HuggingFace LLaVA-type models: torch and transformers only."""

from prunegrid.reduce.host import ReducedVLM
from prunegrid.reduce.places import Place, Probe, Site
from prunegrid.reduce.reducer import Host, Reducer, ScoreReducer
from prunegrid.reduce.text import TextTower
from prunegrid.reduce.trace import Trace
from prunegrid.reduce.view import PromptText, Reduction, TokenView

__all__ = [
    "Host",
    "Place",
    "Probe",
    "PromptText",
    "ReducedVLM",
    "Reducer",
    "Reduction",
    "ScoreReducer",
    "Site",
    "TextTower",
    "TokenView",
    "Trace",
]
