"""The loss of a long text under a real model against `transformers`, over the same windows.

    pip install -e '.[peers]'
    python experiments/benchmarks/long_evaluation.py --model SmolLM2-135M-Instruct --text book.txt

The first 3,500 and 12,000 tokens of a text, in windows of the model's context; float32 on both sides. Loading is not
counted; reading the text, compiling, and whatever else a first evaluation takes, is. The sides alternate, each in a
process of its own.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path

from alternate import measure

SIDES = ("jaxlm", "transformers")
SIZES = (3_500, 12_000)


def jaxlm_side(model: str, text: Path) -> dict[str, float]:
    """Ours; a cache of the text's tokens would spare work that the other side does."""
    from jaxlm.parallel.runtime import prepare_cpu

    prepare_cpu()
    import jaxlm

    loaded = jaxlm.load(model, dtype="float32", compute_dtype="float32")
    started = time.perf_counter()
    found = loaded.evaluate_text([str(text)])
    return {"seconds": time.perf_counter() - started, "perplexity": found.perplexity, "tokens": found.targets}


def transformers_side(model: str, text: Path) -> dict[str, float]:
    """The peer: windows whose last token is the first of the next one, so that each token but one is predicted."""
    import torch
    from transformers import AutoModelForCausalLM

    import jaxlm

    # The ids of our side, with what stands between documents: how those are told apart is no part of the comparison.
    tokenizer = jaxlm.load(model).tokenizer
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    window = loaded.config.max_position_embeddings
    started = time.perf_counter()
    ids = [*tokenizer.encode(text.read_text("utf-8")), *([] if tokenizer.eos_id is None else [tokenizer.eos_id])]
    if tokenizer.bos_id not in (None, tokenizer.eos_id):
        ids = [tokenizer.bos_id, *ids]
    total, count = 0.0, 0
    with torch.inference_mode():
        for start in range(0, len(ids) - 1, window):
            piece = torch.tensor([ids[start : start + window + 1]])
            logits = loaded(piece[:, :-1]).logits
            total += torch.nn.functional.cross_entropy(logits[0], piece[0, 1:], reduction="sum").item()
            count += piece.shape[1] - 1
    return {"seconds": time.perf_counter() - started, "perplexity": math.exp(total / count), "tokens": count}


def main() -> None:
    """Runs one side, or both in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a Hugging Face directory")
    parser.add_argument("--text", type=Path, required=True, help="a text of more tokens than those of --sizes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="tokens of the text")
    parser.add_argument("--side", choices=SIDES)
    options = parser.parse_args()
    if options.side:
        print(json.dumps((jaxlm_side if options.side == "jaxlm" else transformers_side)(options.model, options.text)))
        return

    import jaxlm

    tokenizer = jaxlm.load(options.model).tokenizer
    ids = tokenizer.encode(options.text.read_text("utf-8"))
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            text = Path(folder) / "text.txt"
            text.write_text(tokenizer.decode(ids[:size]), "utf-8")
            command = [sys.executable, __file__, "--model", options.model, "--text", str(text)]
            found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
            for number in range(1, options.rounds + 1):
                for side in SIDES:
                    found[side].append(measure([*command, "--side", side]))
                shown = "   ".join(f"{side} {own[-1]['seconds']:.1f} s" for side, own in found.items())
                print(f"  {size:,} tokens, round {number}: {shown}", flush=True)
            seconds = {side: statistics.median(one["seconds"] for one in own) for side, own in found.items()}
            for side, own in found.items():
                print(
                    f"  {side}: median {seconds[side]:.1f} s, {own[-1]['tokens']:,} tokens predicted, perplexity "
                    f"{own[-1]['perplexity']:.4f}"
                )
            print(f"  jaxlm / transformers: {seconds['jaxlm'] / seconds['transformers']:.2f}x the time", flush=True)


if __name__ == "__main__":
    main()
