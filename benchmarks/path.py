"""What our own path costs beside the same model without it: all that is subtracted or divided is taken in turn.

    python benchmarks/path.py                                   the mini model on this machine
    python benchmarks/path.py --model llava15_7b --device cuda  full shape, random weights, no download
    python benchmarks/path.py --vit                             one full-shape ViT of LLaVA-1.5 (also where no GPU is)

Goals: `none` within 2 % of plain generate; methods before the LLM reach at least 0.9 of the prefill speed-up that the same
shortened prompt has without any reducer; methods in the LLM stay within 10 % of full time x FLOPs ratio at batch 8.
Printed: the median over the turns, and its quartiles. A prefill is what a call takes beyond the ViT that ran in the same
turn; where its interquartile range is larger than itself, no speed-up is printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import reading
import torch
import yaml
from stamp import stamp
from torch import Tensor
from tqdm import tqdm
from transformers.modeling_outputs import BaseModelOutputWithPooling

from prunegrid.cost import TokenSchedule, flops
from prunegrid.latency import NOISE, Quartiles, differences, in_turn, quotient
from prunegrid.latency.clock import clock_of
from prunegrid.reduce import Reducer
from prunegrid.reduce.methods.cdpruner import CDPruner
from prunegrid.reduce.methods.fastv import FastV
from prunegrid.reduce.methods.ivtp import IVTP
from prunegrid.reduce.methods.progressive import Progressive
from prunegrid.reduce.methods.random import Random
from prunegrid.shape import ModelShape

ROOT = Path(__file__).parents[1]
TEXT = 40  # tokens of question and template around the picture
Call = Callable[[], Any]


def taken(calls: Mapping[str, Call], repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each call, turn by turn."""
    warmup = 3
    with tqdm(total=warmup + repeats, leave=False) as bar:
        return in_turn(calls, repeats, clock_of(device), warmup, bar.update)


def model_of(name: str, dtype: str, device: torch.device) -> Any:
    """The mini model as shipped; any other of conf/model at full shape with random weights."""
    from transformers import LlavaForConditionalGeneration

    from prunegrid.checkpoints.random_weights import random_llava

    said = yaml.safe_load((ROOT / "conf" / "model" / f"{name}.yaml").read_text(encoding="utf-8"))
    kind = getattr(torch, dtype)
    if name == "mini":
        return (
            LlavaForConditionalGeneration.from_pretrained(ROOT / said["path"], dtype=kind).to(device).eval()
        )
    return random_llava(said["config"], 0, kind, str(device))


def inputs_of(model: Any, batch: int) -> dict[str, Tensor]:
    """One picture of noise and TEXT tokens per sample, without padding."""
    shape, config = ModelShape.from_config(model.config.to_dict()), model.config
    ids = torch.randint(
        3, 60, (batch, TEXT + shape.visual_tokens), generator=torch.Generator().manual_seed(0)
    )
    ids[ids == config.image_token_id] = 10
    ids[:, 4 : 4 + shape.visual_tokens] = config.image_token_id
    side = config.vision_config.image_size
    pixels = torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(1))
    made = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels.to(model.dtype)}
    return {name: value.to(model.device) for name, value in made.items()}


def shortened(model: Any, inputs: Mapping[str, Tensor], keep: int) -> dict[str, Any]:
    """The same prompt with `keep` placeholders and their features at hand: what no reducer can beat."""
    ids, visual = inputs["input_ids"], ModelShape.from_config(model.config.to_dict()).visual_tokens
    ids = torch.cat([ids[:, : 4 + keep], ids[:, 4 + visual :]], 1)
    features = torch.randn(
        len(ids), keep, model.config.text_config.hidden_size, device=ids.device, dtype=model.dtype
    )
    output = BaseModelOutputWithPooling(pooler_output=list(features))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "mm_encoder_outputs": {"image": output}}


def asker(model: Any, reducer: Reducer, inputs: Mapping[str, Tensor], new: int) -> Call:
    host, rows = reading.host(model, reducer), inputs["input_ids"]
    ids, told = [str(b) for b in range(len(rows))], reading.told(rows, model.config.image_token_id)
    return lambda: host.generate(
        inputs, ids=ids, prompt=told, max_new_tokens=new, min_new_tokens=new, do_sample=False
    )


def plain(model: Any, inputs: Mapping[str, Any], new: int) -> Call:
    def call() -> Any:
        with torch.no_grad():
            return model.generate(**inputs, max_new_tokens=new, min_new_tokens=new, do_sample=False)

    return call


def own_path(model: Any, repeats: int, batch: int, new: int) -> None:
    """Rows of the table: what was compared, its ratio and its goal."""
    shape, inputs = ModelShape.from_config(model.config.to_dict()), inputs_of(model, batch)
    device = torch.device(model.device)
    t = taken(
        {"plain": plain(model, inputs, new), "none": asker(model, Reducer(), inputs, new)}, repeats, device
    )
    say(f"batch {batch}, {new} new: none / plain generate", quotient(t["none"], t["plain"]), "<= 1.02")
    for of in (64, 144):
        keep = max(1, round(of * shape.visual_tokens / 576))
        calls = {
            "vit": lambda: features(model, inputs),
            "full": plain(model, inputs, 1),
            "shortened": plain(model, shortened(model, inputs, keep), 1),
            "random": asker(model, Random(keep=keep), inputs, 1),
            "CDPruner": asker(model, CDPruner(keep=keep), inputs, 1),
        }
        t = taken(calls, repeats, device)
        for name, goal in (("random", ">= 0.9"), ("CDPruner", "stated")):
            prefill(f"batch {batch}, {keep} tokens by {name}", t, name, goal)
    if batch >= 8:
        in_llm(model, shape, inputs, repeats, new)


def prefill(what: str, t: Mapping[str, list[float]], name: str, goal: str) -> None:
    """How near a method's prefill speed-up comes to that of the shortened prompt; t: also full, vit and shortened."""
    full, own = (differences(t[key], t["vit"]) for key in ("full", name))
    for key, values in (("full", full), (name, own)):
        found = Quartiles.of(values)
        if not (found.measurable and found.median > 0):
            print(f"{what}: prefill {NOISE}: {key} - ViT {_ms(found)}", flush=True)
            return
    mine, best = (quotient(full, under).median for under in (own, t["shortened"]))
    say(f"{what}: prefill speed-up {mine:.2f}x of {best:.2f}x", quotient(t["shortened"], own), goal)


def _ms(found: Quartiles) -> str:
    return f"{1e3 * found.median:.2f} ms, quartiles {1e3 * found.low:.2f} to {1e3 * found.high:.2f}"


def features(model: Any, inputs: Mapping[str, Tensor]) -> Any:
    with torch.no_grad():
        return model.model.get_image_features(inputs["pixel_values"])


def in_llm(model: Any, shape: ModelShape, inputs: Mapping[str, Tensor], repeats: int, new: int) -> None:
    """FastV, and IVTP's second stage, which reads the question, against full time x FLOPs ratio (`exact`)."""
    keep, layers = max(1, round(64 * shape.visual_tokens / 576)), shape.llm.layers
    methods: dict[str, tuple[Reducer, str]] = {
        "FastV": (FastV(layer=max(1, round(2 * layers / 32)), keep=keep), "<= 1.10"),
        "IVTP's second stage": (IVTP(keep, "second", layers=max(1, round(12 * layers / 32))), "stated"),
    }
    calls = {name: asker(model, reducer, inputs, new) for name, (reducer, _) in methods.items()}
    t = taken({"full": plain(model, inputs, new)} | calls, repeats, model.device)
    whole = TokenSchedule.stated(shape, TEXT + shape.visual_tokens, new_tokens=new)
    for name, (_, goal) in methods.items():
        r = calls[name]()[1].sample(0)
        own = TokenSchedule.from_trace(
            {"vision": [r["vision"][: shape.vision.selected]], "projector": [r["projector"]],
             "prompt": [r["prompt"]], "new_tokens": [new]}
        )  # fmt: skip
        ratio = flops(shape, own, "exact") / flops(shape, whole, "exact")
        what = f"{name}, {new} new: time / (full time x FLOPs ratio {ratio:.2f})"
        say(what, quotient(t[name], t["full"], 1 / ratio), goal)


def throughput(model: Any, repeats: int, batch: int, new: int) -> None:
    """Samples per second of `fast` decoding over `official` (batch 1)."""
    device = torch.device(model.device)
    one = asker(model, Reducer(), inputs_of(model, 1), new)
    many = asker(model, Reducer(), inputs_of(model, batch), new)
    t = taken({"one": one, "many": many}, repeats, device)
    say(f"samples per second, batch {batch} / batch 1", quotient(t["one"], t["many"], batch), "stated")


def vit(repeats: int, batch: int, dtype: str, device: torch.device) -> None:
    """One full-shape ViT: pruned inside by a method against nothing pruned, and against its FLOPs."""
    from transformers import LlavaForConditionalGeneration

    from prunegrid.checkpoints.random_weights import random_llava

    said = yaml.safe_load((ROOT / "conf" / "model" / "llava15_7b.yaml").read_text(encoding="utf-8"))["config"]
    said["text_config"] |= {"num_hidden_layers": 2, "hidden_size": 256, "intermediate_size": 512}
    model: LlavaForConditionalGeneration = random_llava(said, 0, getattr(torch, dtype), str(device))
    inputs, shape = inputs_of(model, batch), ModelShape.from_config(model.config.to_dict())
    reducer = Progressive(keep=64)
    t = taken(
        {"full": asker(model, Reducer(), inputs, 1), "pruned": asker(model, reducer, inputs, 1)},
        repeats,
        device,
    )
    _, trace = asker(model, reducer, inputs, 1)()
    counts = trace.sample(0)["vision"]
    saved = sum(counts) / (shape.vision.tokens * len(counts))
    say(
        f"ViT-L/336 batch {batch}: pruned inside / full (tokens {saved:.2f})",
        quotient(t["pruned"], t["full"]),
        "< 1",
    )


def say(what: str, ratio: Quartiles, goal: str) -> None:
    print(f"{what:74} {ratio.median:6.3f} ({ratio.low:.3f} to {ratio.high:.3f})   goal {goal}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="mini")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default=None, help="default: float32 on a CPU, float16 on a GPU")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--new", type=int, default=16)
    parser.add_argument("--vit", action="store_true", help="the full-shape ViT alone")
    given = parser.parse_args()
    device = torch.device(given.device)
    dtype = given.dtype or ("float16" if device.type == "cuda" else "float32")
    print({**stamp(given.device), "dtype": dtype, "model": "ViT-L/336" if given.vit else given.model})
    if given.vit:
        vit(given.repeats, given.batches[0], dtype, device)
        return
    model = model_of(given.model, dtype, device)
    for batch in given.batches:
        own_path(model, given.repeats, batch, given.new)
    throughput(model, given.repeats, max(given.batches), given.new)


if __name__ == "__main__":
    main()
