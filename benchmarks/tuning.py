"""What a reducer saves in training: samples per second and peak memory with and without it, beside the FLOPs ratio.

    python benchmarks/tuning.py                                        the mini model on this machine
    python benchmarks/tuning.py --model llava15_7b --device cuda       full shape, random weights, sequences of 2048

LoRA as conf/tuning/lora.yaml has it. Conversations are random words of one length: what they say does not matter to the
clock. Every setting runs in a process of its own, so that peak memory is its own. On a CPU, time is the processor's
(of all threads), so that a busy machine does not show.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from stamp import stamp

from prunegrid.cost import TokenSchedule, flops
from prunegrid.reduce import Reducer
from prunegrid.reduce.methods.fastv import FastV
from prunegrid.reduce.methods.topk_cls import TopKCls
from prunegrid.shape import ModelShape

ROOT = Path(__file__).parents[1]
REDUCERS = ("none", "topk_cls", "fastv")


def reducer(name: str, shape: ModelShape) -> Reducer:
    """Full tokens, 1/9 of them in front of the projector, or 1/4 of them from LLM layer 2 on."""
    if name == "topk_cls":
        return TopKCls(keep=shape.visual_tokens // 9)
    return FastV(keep=0.25, layer=2) if name == "fastv" else Reducer()


def model_of(name: str, device: str) -> Any:
    """mini: its checkpoint; others: conf/model's full shape with random weights, in bfloat16."""
    said = yaml.safe_load((ROOT / "conf" / "model" / f"{name}.yaml").read_text(encoding="utf-8"))
    if name == "mini":
        from transformers import LlavaForConditionalGeneration

        path = ROOT / said["path"]
        return LlavaForConditionalGeneration.from_pretrained(path, dtype=torch.float32).to(device)  # type: ignore[arg-type]
    from prunegrid.checkpoints.random_weights import random_llava

    return random_llava(said["config"], 0, torch.bfloat16, device)


def batch_of(model: Any, shape: ModelShape, size: int, length: int) -> Any:
    """`size` conversations of `length` tokens, the picture's among them; the last quarter is learnt."""
    from prunegrid.tune.packing import Batch

    image, vocabulary = model.config.image_token_id, model.config.text_config.vocab_size
    ids = torch.randint(5, min(vocabulary, image if image > 5 else vocabulary), (size, length))
    ids[:, 1 : 1 + shape.visual_tokens] = image
    labels = ids.clone()
    labels[:, : max(1 + shape.visual_tokens, 3 * length // 4)] = -100
    side = model.config.vision_config.image_size
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    inputs["pixel_values"] = torch.randn(size, 3, side, side).to(next(model.parameters()).dtype)
    return Batch(inputs, labels, tuple(map(str, range(size))), ())


def measure(name: str, given: argparse.Namespace, queue: Any) -> None:
    """Put {samples_per_s, peak_gb, flops} of one reducer into the queue."""
    from prunegrid.tune.conversations import Conversation
    from prunegrid.tune.loop import Tuner
    from prunegrid.tune.recipe import Recipe

    torch.set_num_threads(given.threads)
    model = model_of(given.model, given.device)
    model.set_attn_implementation("sdpa")
    shape = ModelShape.from_config(model.config.to_dict())
    mini = given.model == "mini"
    recipe = Recipe(
        "lora",
        rate=2e-4,
        projector_rate=2e-5,
        batch=given.micro,
        micro=given.micro,
        steps=given.steps + 2,
        rank=16 if mini else 128,
        alpha=32 if mini else 256,
        dtype="float32" if mini else "bfloat16",
        checkpointing=given.checkpointing,
    )
    batch = batch_of(model, shape, given.micro, given.length)
    idle = [Conversation(str(k), Path(), (("", ""),)) for k in range(given.micro)]
    tuner = Tuner(model, reducer(name, shape), recipe, None, idle, 0, given.device)  # type: ignore[arg-type]
    tuner._batches = lambda micros: [batch]  # type: ignore[assignment,return-value]
    for step in range(2):
        tuner.step(step)
    cuda = given.device.startswith("cuda")
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    clock = time.perf_counter if cuda else time.process_time
    began = clock()
    for step in range(given.steps):
        tuner.step(2 + step)
    seconds = (clock() - began) / given.steps  # each step ends with the loss on the host
    peak = (
        torch.cuda.max_memory_allocated()
        if cuda
        else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )
    queue.put(
        {"samples_per_s": given.micro / seconds, "peak_gb": peak / 1e9, "flops": work(tuner, batch, shape)}
    )


def work(tuner: Any, batch: Any, shape: ModelShape) -> float:
    """FLOPs of a step: the ViT once; of the decoder the forward pass, its gradients, and it again if checkpointed."""
    with torch.no_grad():
        host = tuner._hosts[True]
        inputs = {k: v.to(tuner.device) for k, v in batch.inputs.items()}
        with torch.autocast(tuner.device.split(":")[0], enabled=tuner.recipe.dtype == "bfloat16"):
            _, trace = host.forward(inputs, ids=batch.ids)
    rows = {"vision": [v[: shape.vision.selected] for v in trace.vision], "projector": trace.projector}
    schedule = TokenSchedule.from_trace({**rows, "prompt": trace.prompt, "new_tokens": [1] * len(batch.ids)})
    times = 3 if tuner.recipe.checkpointing else 2
    return float(
        flops(shape, schedule, "exact", "vision") + times * flops(shape, schedule, "exact", "prefill")
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="mini")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--micro", type=int, default=16)
    parser.add_argument("--length", type=int, help="tokens per conversation (2048; mini: 192)")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--reducers", nargs="+", choices=REDUCERS, default=list(REDUCERS))
    parser.add_argument("--no-checkpointing", dest="checkpointing", action="store_false")
    given = parser.parse_args()
    given.length = given.length or (192 if given.model == "mini" else 2048)
    torch.set_num_threads(given.threads)
    print(stamp(given.device))
    print(
        f"{given.model} on {given.device}: LoRA, {given.micro} x {given.length} tokens, checkpointing {given.checkpointing}"
    )
    context, base = multiprocessing.get_context("spawn"), None
    for name in given.reducers:
        queue: Any = context.Queue()
        process = context.Process(target=measure, args=(name, given, queue))
        process.start()
        while process.is_alive() and queue.empty():
            process.join(1)
        if queue.empty():
            raise SystemExit(f"{name}: the process ended with code {process.exitcode} and no result")
        got = queue.get()
        process.join()
        base = base or got
        print(
            f"{name:10} {got['samples_per_s']:8.2f} samples/s  x{got['samples_per_s'] / base['samples_per_s']:.2f}"
            f"   peak {got['peak_gb']:6.2f} GB  x{got['peak_gb'] / base['peak_gb']:.2f}"
            f"   FLOPs x{got['flops'] / base['flops']:.3f} (1/x = {base['flops'] / got['flops']:.2f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
