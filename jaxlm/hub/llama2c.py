"""Checkpoints of llama2.c, version 0: a Llama in one file of float32 numbers (github.com/karpathy/llama2.c, run.c).

Seven int32 (width, feed-forward width, layers, heads, key-value heads, vocabulary, context) and then the weights, all
layers of a kind together, matrices as [out, in]. A negative vocabulary says that the head is not tied. Rotary pairs are
neighbours there and half a head apart here and in transformers, so the rows of the query and key maps are reordered.
"""

import math
import os
from pathlib import Path

import numpy as np

from jaxlm.errors import DataError
from jaxlm.hub.safetensors import TensorInfo
from jaxlm.models.config import ModelConfig

HEADER = np.dtype([(name, "<i4") for name in ("dim", "hidden", "layers", "heads", "kv_heads", "vocab", "length")])
LARGEST = 2**24  # of any number in the header
TOKENIZERS = ("tok{vocab}.bin", "tokenizer.bin")
BEGIN_ID, END_ID = 1, 2


class Llama2cFile:
    """A checkpoint, its tensors under the names that they have in a Llama directory; a `TensorSource`.

    Attributes:
      folder: the file itself, which is what errors name.
      config: the model's description.
      tensors: dtype and shape of each.
    """

    def __init__(self, path: str | os.PathLike):
        """Reads the header.

        Raises:
          DataError: the file cannot be read, or is no llama2.c checkpoint.
        """
        self.folder = Path(path)
        try:
            with self.folder.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                header = file.read(HEADER.itemsize)
        except OSError as error:
            raise DataError(f"{self.folder} cannot be read: {error.strerror}") from error
        if len(header) < HEADER.itemsize:
            raise DataError(f"{self.folder} is too short for a llama2.c checkpoint")
        dim, hidden, layers, heads, kv_heads, vocab, length = (int(x) for x in np.frombuffer(header, HEADER)[0])
        tied, vocab = vocab > 0, abs(vocab)
        sizes = (dim, hidden, layers, heads, kv_heads, vocab, length)
        if not all(0 < x < LARGEST for x in sizes) or dim % (2 * heads) or heads % kv_heads:
            raise DataError(f"{self.folder} is no llama2.c checkpoint (of version 0): its header makes no model")
        head_dim = dim // heads
        stacks = [
            ("input_layernorm", (dim,)),
            ("self_attn.q_proj", (heads * head_dim, dim)),
            ("self_attn.k_proj", (kv_heads * head_dim, dim)),
            ("self_attn.v_proj", (kv_heads * head_dim, dim)),
            ("self_attn.o_proj", (dim, heads * head_dim)),
            ("post_attention_layernorm", (dim,)),
            ("mlp.gate_proj", (hidden, dim)),
            ("mlp.down_proj", (dim, hidden)),
            ("mlp.up_proj", (hidden, dim)),
        ]
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, dim)}
        for name, shape in stacks:
            shapes |= {f"model.layers.{layer}.{name}.weight": shape for layer in range(layers)}
        shapes["model.norm.weight"] = (dim,)
        # Tables of cosines and sines, which nothing reads.
        shapes["rotary tables"] = (2, length, head_dim // 2)
        if not tied:
            shapes["lm_head.weight"] = (vocab, dim)
        self._offsets = {}
        end = HEADER.itemsize
        for name, shape in shapes.items():
            self._offsets[name] = end
            end += 4 * math.prod(shape)
        if size != end:
            raise DataError(f"{self.folder} has {size:,} bytes and a llama2.c checkpoint with its header {end:,}")
        del shapes["rotary tables"]
        self.tensors = {name: TensorInfo(np.dtype(np.float32), shape) for name, shape in shapes.items()}
        self.config = ModelConfig(
            family="llama",
            vocab_size=vocab,
            max_length=length,
            num_layers=layers,
            embed_dim=dim,
            num_heads=heads,
            num_kv_heads=kv_heads,
            mlp_dim=hidden,
            positions="rotary",
            norm="rms_norm",
            norm_epsilon=1e-5,
            feed_forward="swiglu",
            use_bias=False,
            head="tied" if tied else "untied",
        )

    def read(self, name: str) -> np.ndarray:
        """Returns a tensor in memory of its own, as a Llama directory has it.

        Raises:
          DataError: the file has become shorter.
        """
        shape = self.tensors[name].shape
        array = np.fromfile(self.folder, "<f4", math.prod(shape), offset=self._offsets[name])
        if array.size < math.prod(shape):
            raise DataError(f"{self.folder} ends inside {name}; copy it again")
        array = array.reshape(shape).astype(np.float32, copy=False)
        if ".q_proj." in name or ".k_proj." in name:
            pairs = self.config.resolved_head_dim // 2
            array = array.reshape(-1, pairs, 2, shape[1]).swapaxes(1, 2).reshape(shape)
        return array

    def equal(self, one: str, other: str) -> bool:
        """Whether two tensors are the same."""
        return bool(np.array_equal(self.read(one), self.read(other)))

    def tokenizer_file(self) -> Path | None:
        """The tokenizer beside the checkpoint, under one of the names that llama2.c gives it, or None."""
        names = [name.format(vocab=self.config.vocab_size) for name in TOKENIZERS]
        found = [self.folder.with_name(name) for name in names if self.folder.with_name(name).is_file()]
        return found[0] if found else None


def find_llama2c(path: str | os.PathLike) -> Llama2cFile | None:
    """Opens the llama2.c checkpoint that a path is, or that is the only one of a folder; None if there is none.

    Raises:
      DataError: the path is a file but no such checkpoint.
    """
    path = Path(path)
    if path.is_file():
        return Llama2cFile(path)
    found = []
    for candidate in sorted(path.glob("*.bin")):
        try:
            found.append(Llama2cFile(candidate))
        except DataError:
            continue
    return found[0] if len(found) == 1 else None
