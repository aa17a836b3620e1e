"""A Hugging Face directory as a whole: read into a model of ours, and written from one."""

import logging
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from jaxlm.errors import DataError, UsageError
from jaxlm.generation.config import GenerationConfig
from jaxlm.hub.config_file import CONFIG, GENERATION_FIELDS, read_config_file
from jaxlm.hub.equivalence import LABELLED
from jaxlm.hub.family import Family
from jaxlm.hub.files import json_bytes, whole_file, whole_folder
from jaxlm.hub.generation_file import GENERATION, generation_values, read_generation_config
from jaxlm.hub.imported import Imported
from jaxlm.hub.llama2c import BEGIN_ID, END_ID, Llama2cFile, find_llama2c
from jaxlm.hub.mapping import Place, TensorSource, planned_tensors, read_params, without_prefix, written_tensors
from jaxlm.hub.problem import KEPT, LABEL_NAMES, kept_fields, problem_fields, read_task
from jaxlm.hub.registry import family_for, family_named, family_of
from jaxlm.hub.sentence_transformers import read_vectors, vector_files
from jaxlm.hub.weights import MAX_SHARD_BYTES, open_weights, write_weights
from jaxlm.local_paths import refuse_address
from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import abstract_params, param_axes
from jaxlm.models.generator import without_generator
from jaxlm.parallel.mesh import param_shardings
from jaxlm.progress import counted
from jaxlm.tasks.config import TaskConfig
from jaxlm.text.hugging_face_files import SETTINGS_FILE, json_object
from jaxlm.text.llama2c import load_llama2c_tokenizer
from jaxlm.text.tokenizer import Tokenizer, has_tokenizer, load_tokenizer
from jaxlm.text.tokenizer_json import as_json

logger = logging.getLogger("jaxlm.hub")

ComputeDtype = Literal["float32", "bfloat16"]
Layers = Literal["scanned", "unrolled"]
# Layers of an imported model from which on one block is compiled for all.
SCANNED_FROM = 8
# Ids of special tokens in config.json; written as null where there are none, since the classes have defaults.
TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
MOST_EXPERTS = 100_000  # of all layers; DeepSeek-V3 has 15,000
UNREAD_TOKENIZER = "spm.model"  # DeBERTa's, whose ids and rules are written in the code of its class
# Those that few classes have; kept where they are.
MORE_TOKEN_IDS = ("cls_token_id", "sep_token_id")


@dataclass(frozen=True)
class HubModel:
    """What config.json and the weights of a directory hold.

    Attributes:
      config: the model's description; `config.family` names its family.
      params: its parameters, in the dtypes of the file.
      family: the family.
      imported: special tokens under the names of TOKEN_IDS (and MORE_TOKEN_IDS), names of a classifier's labels, and
        what an export writes as it was.
      task: what its head predicts of labelled examples, or None.
      generation_fields: what config.json says of generating.
    """

    config: ModelConfig
    params: dict
    family: Family
    imported: Imported
    task: TaskConfig | None = None
    generation_fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def token_ids(self) -> Mapping[str, Any]:
        """Special tokens: an id, a list of ids, or None."""
        return self.imported.token_ids

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of a classifier's labels."""
        return self.imported.labels


@dataclass(frozen=True)
class HubDirectory:
    """All that is read from a directory.

    Attributes:
      model: config.json and the weights.
      tokenizer: its tokenizer, or None if it has none.
      generation: how its model generates, or None if it does not say.
    """

    model: HubModel
    tokenizer: Tokenizer | None
    generation: GenerationConfig | None


def is_model_directory(path: str | os.PathLike) -> bool:
    """Whether a path is what `read_directory` takes: has a config.json, or is a llama2.c checkpoint or its folder."""
    path = Path(path)
    return path.is_file() or (path / CONFIG).is_file() or (path.is_dir() and find_llama2c(path) is not None)


def read_directory(path: str | os.PathLike, **options: Any) -> HubDirectory:
    """Reads a directory: model, tokenizer and how it generates.

    What the directory asks for in generating and we do not do is logged to "jaxlm.hub" as a warning.

    Args:
      path: a Hugging Face directory, or a llama2.c checkpoint or its folder.
      **options: see `read_model`.

    Raises:
      UsageError: no such directory, or one that is not supported.
      DataError: damaged files, or some that do not belong together.
    """
    model = read_model(path, **options)
    llama2c = None if (Path(path) / CONFIG).is_file() else find_llama2c(path)
    if llama2c is not None:
        return HubDirectory(model, _llama2c_tokenizer(llama2c), GenerationConfig(end_ids=(BEGIN_ID, END_ID)))
    folder = Path(path)
    tokenizer = load_tokenizer(folder) if has_tokenizer(folder) else None
    if tokenizer is None and (folder / UNREAD_TOKENIZER).is_file():
        logger.warning(
            "%s has a tokenizer in %s alone, which is not read: save it with transformers, which writes a "
            "tokenizer.json",
            *(folder, UNREAD_TOKENIZER),
        )
    if not _generates(model.config):
        return HubDirectory(model, tokenizer, None)
    towers = model.config.architecture == "encoder_decoder"
    found = read_generation_config(folder, model.token_ids, model.generation_fields, towers)
    for note in found.notes:
        logger.warning(note)
    config = model.config
    if towers and found.start_id is not None:
        config = replace(config, decoder_start_id=found.start_id)
    model = replace(model, config=config, imported=replace(model.imported, generation=found.kept))
    return HubDirectory(model, tokenizer, found.config)


def _generates(config: ModelConfig) -> bool:
    """Whether a model goes on with a text."""
    return config.architecture in ("decoder", "encoder_decoder", "lstm") and config.task_head == "language_model"


def _llama2c_tokenizer(checkpoint: Llama2cFile) -> Tokenizer | None:
    file = checkpoint.tokenizer_file()
    if file is None:
        logger.warning("%s has no tokenizer beside it (tok%d.bin)", checkpoint.folder, checkpoint.config.vocab_size)
        return None
    return load_llama2c_tokenizer(file)


def read_model(
    path: str | os.PathLike,
    *,
    mesh: jax.sharding.Mesh | None = None,
    layers: Layers | None = None,
    dtype: str | None = None,
    compute_dtype: ComputeDtype | None = None,
    allow_nan: bool = False,
) -> HubModel:
    """Reads config.json and the weights, each tensor straight to its devices.

    The host holds no more than the parameters that live on it and about one tensor.

    Args:
      path: a Hugging Face directory, or a llama2.c checkpoint or its folder.
      mesh: where the parameters go, divided as in training; none means the first device.
      layers: how the layers lie; none means 'scanned' where there are many, since one block is compiled much sooner
        than many (decoding unrolls them, see `jaxlm.generation.decoding`).
      dtype: what the weights are converted to; none keeps each as it is in the file.
      compute_dtype: ModelConfig.dtype; none takes bfloat16 for bfloat16 weights, else float32.
      allow_nan: whether weights may be no numbers.

    Raises:
      UsageError: no such directory, or one that is not supported: an unknown family, a field of the configuration, a
        class, weights that are no safetensors, a model that comes with its own code.
      DataError: damaged files, or weights that are not those of the configuration.
    """
    if dtype not in (None, "float32", "float16", "bfloat16"):
        raise UsageError(f"weights cannot be converted to {dtype!r}, only to float32, float16 or bfloat16")
    source: TensorSource
    task: TaskConfig | None = None
    generation: Mapping[str, Any] = {}
    llama2c = None if (Path(path) / CONFIG).is_file() else find_llama2c(path)
    if llama2c is not None:
        config, source, family = llama2c.config, llama2c, family_named("llama")
        imported = Imported({"bos_token_id": BEGIN_ID, "eos_token_id": END_ID, "pad_token_id": None}, config={})
    else:
        reader = read_config_file(path)
        family = family_of(reader)
        config = family.read(reader)
        if family.language is not None:
            reader = family.language(reader)
        vectors = read_vectors(Path(path))
        source = open_weights(path)
        if family.unpacked is not None:
            source = family.unpacked(source)
        if vectors is not None and _lacks_its_head(config, source, family):
            config = family.read(read_config_file(path), bare=True)
        token_ids = {name: reader.token_id(name) for name in TOKEN_IDS}
        token_ids |= {name: reader.token_id(name) for name in MORE_TOKEN_IDS if reader.has(name)}
        labels = reader.labels() if config.task_head in LABELLED else ()
        task = read_task(reader, config, labels)
        if task is not None and task.kind == "regression":
            labels = ()
        imported = Imported(token_ids, labels, vectors, kept_fields(reader, task))
        generation = reader.part(GENERATION_FIELDS)
        if config.head == "tied" and not config.scale_head and family.own_head in source.tensors:
            config = replace(config, head="untied")
    _check_size(config, source)
    bytes_of: Counter[str] = Counter()
    for info in source.tensors.values():
        bytes_of[str(info.dtype)] += info.bytes
    stored = dtype or (bytes_of.most_common(1)[0][0] if bytes_of else "float32")
    default: ComputeDtype = "bfloat16" if stored == "bfloat16" else "float32"
    if layers is None:
        one_type = dtype is not None or len(bytes_of) == 1
        many = config.num_layers >= SCANNED_FROM and config.layers == "scanned" and one_type
        layers = "scanned" if many else "unrolled"
    config = replace(config, layers=layers, dtype=compute_dtype or default)
    config.validate()
    params = read_params(
        source,
        family.entries(config),
        abstract_params(config),
        _place(config, mesh),
        base_prefix=family.base_prefix,
        renames=family.renames,
        ignorable=(*family.ignorable, *family.surplus, *family.other_towers.values()),
        dtype=None if dtype is None else jax.numpy.dtype(dtype),
        allow_nan=allow_nan,
    )
    left_out = _left_out(source, family, config)
    if left_out:
        logger.warning("%s: left out, since the class in config.json does not have them: %s", path, ", ".join(left_out))
    towers = _other_towers(source, family)
    if towers:
        logger.warning("%s: the language model alone is read, and left out are: %s", path, ", ".join(towers))
    return HubModel(config, params, family, imported, task, generation)


def _lacks_its_head(config: ModelConfig, source: TensorSource, family: Family) -> bool:
    """Whether the weights are those of an encoder alone, although config.json names a class with a head.

    sentence-transformers saves no head, and leaves the class that the model was pretrained as (all-mpnet-base-v2).
    """
    if config.architecture != "encoder" or config.task_head == "none" or not family.base_prefix:
        return False
    return not any(name.startswith(family.base_prefix) for name in source.tensors)


def _check_size(config: ModelConfig, source: TensorSource) -> None:
    """Finds a config.json of more layers than there are tensors, before anything is made of them."""
    towers = config.num_layers + (config.resolved_encoder_layers if config.architecture == "encoder_decoder" else 0)
    if towers > len(source.tensors):
        raise DataError(
            f"the config.json in {source.folder} describes {towers:,} layers, and its weights are "
            f"{len(source.tensors):,} tensors: they do not belong together; download the folder again"
        )
    if config.num_layers * config.num_experts > MOST_EXPERTS:
        raise UsageError(
            f"the config.json in {source.folder} describes {config.num_layers * config.num_experts:,} experts; at most "
            f"{MOST_EXPERTS:,} are read"
        )


def _left_out(source: TensorSource, family: Family, config: ModelConfig) -> list[str]:
    """The tensors of a file that are a part of the family's models and none of this one."""
    own = {name for entry in family.entries(config) for name in (*entry.theirs, *entry.aliases)}
    return [
        name
        for name in source.tensors
        if name not in own and any(re.search(pattern, name) for pattern in family.surplus)
    ]


def _other_towers(source: TensorSource, family: Family) -> list[str]:
    """What of a file stands beside the language model, each with its number of tensors."""
    counts = {
        tower: sum(re.search(pattern, name) is not None for name in source.tensors)
        for tower, pattern in family.other_towers.items()
    }
    return [f"{tower} ({count} tensor{'s' * (count > 1)})" for tower, count in counts.items() if count]


def _place(config: ModelConfig, mesh: jax.sharding.Mesh | None) -> Place:
    """Puts a parameter on the first device of this process, or divides it over a mesh as its logical axes say."""
    if mesh is None:
        device = jax.local_devices()[0]
        return lambda path, array: jax.device_put(array, device)
    tree, _ = param_shardings(mesh, abstract_params(config), param_axes(config))
    shardings = {
        jax.tree_util.keystr(path, simple=True, separator="/"): sharding
        for path, sharding in jax.tree_util.tree_leaves_with_path(tree)
    }

    def place(path: str, array: np.ndarray) -> jax.Array:
        return jax.make_array_from_callback(array.shape, shardings[path], lambda index: array[index])

    return place


def write_directory(
    folder: str | os.PathLike,
    config: ModelConfig,
    params: dict,
    tokenizer: Tokenizer | None = None,
    generation: GenerationConfig | None = None,
    imported: Imported | None = None,
    task: TaskConfig | None = None,
    **options: Any,
) -> Family:
    """Writes a whole directory, as transformers reads it; it is there whole or not at all.

    Args:
      folder: where to; new or empty.
      config: the model's description.
      params: its parameters.
      tokenizer: its tokenizer; none writes none. Special ids that `imported` leaves open are its own.
      generation: how it generates; none writes no generation_config.json, nor does a model that does not.
      imported: what it keeps of the directory that it was imported from.
      task: what it was trained for, where it was not imported.
      **options: see `write_model`.

    Raises:
      UsageError: the folder holds something already; no family can express the model; the format cannot express the
        tokenizer.

    Returns:
      The family that the model was written as.
    """
    require_empty(folder)
    imported = imported or Imported()
    files = {} if tokenizer is None else _tokenizer_files(tokenizer, config, imported)
    token_ids = dict.fromkeys(TOKEN_IDS) | dict(imported.token_ids)
    if tokenizer is not None:
        own = {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id}
        if imported.config is None and config.architecture == "encoder":
            more = {"cls_token_id": tokenizer.cls_id, "sep_token_id": tokenizer.sep_id}
            own, token_ids = own | more, dict.fromkeys(more) | token_ids
        token_ids = {name: own.get(name) if value is None else value for name, value in token_ids.items()}
    if generation is not None and _generates(config):
        start = {"decoder_start_token_id": config.decoder_start_id}
        files = {
            **files,
            GENERATION: json_bytes(generation_values(generation, {**token_ids, **start}, imported.generation)),
        }
    if imported.vectors is not None:
        files = {**files, **vector_files(imported.vectors, config.embed_dim)}
    if imported.config is not None:
        fields = {name: imported.config[name] for name in (*KEPT, *LABEL_NAMES) if name in imported.config}
    else:
        fields = problem_fields(task or TaskConfig(), config)
    labels = imported.labels or (task.labels if task is not None and config.task_head in LABELLED else ())
    options |= {"token_ids": token_ids, "labels": labels, "beside": files, "fields": fields}
    with whole_folder(folder) as beside:
        return write_model(beside, config, params, **options)


def _tokenizer_files(tokenizer: Tokenizer, config: ModelConfig, imported: Imported) -> dict[str, bytes]:
    """The tokenizer's files: those that an imported model came with, or new ones that suit the model."""
    if imported.config is not None:
        return tokenizer.export_files()
    files = tokenizer.export_files(prompts=_generates(config) and config.architecture != "encoder_decoder")
    if config.token_types and SETTINGS_FILE in files:
        # Else the second text of a pair would be given to the model as the first is.
        names = ["input_ids", "token_type_ids", "attention_mask"]
        settings = {**json_object(files[SETTINGS_FILE], SETTINGS_FILE), "model_input_names": names}
        files[SETTINGS_FILE] = as_json(settings, sort_keys=True)
    return files


def require_empty(folder: str | os.PathLike) -> None:
    """Checks that a folder is new or empty.

    Raises:
      UsageError: it is not, or it is no path of this machine.
    """
    refuse_address(folder)
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists already; name a new folder, or delete it first")


def write_model(
    folder: str | os.PathLike,
    config: ModelConfig,
    params: dict,
    *,
    family: str | None = None,
    token_ids: Mapping[str, Any] | None = None,
    labels: Sequence[str] = (),
    max_shard_bytes: int = MAX_SHARD_BYTES,
    beside: Mapping[str, bytes] | None = None,
    fields: Mapping[str, Any] | None = None,
) -> Family:
    """Writes the weights, in the dtypes of the parameters, and config.json, without which a directory is none, last.

    What cannot be expressed is refused before anything is written.

    Args:
      folder: where to.
      config: the model's description.
      params: its parameters, scanned or unrolled as config.layers says; those of a generator are left out.
      family: which family's form it takes; none means the one it was imported from, else the first that can express it.
      token_ids: special tokens, as in HubModel.
      labels: names of a classifier's labels.
      max_shard_bytes: see `jaxlm.hub.weights.write_weights`.
      beside: further files, by their paths in the folder.
      fields: further fields of config.json.

    Raises:
      UsageError: the family, or any, cannot express the model; with the reasons.

    Returns:
      The family.
    """
    folder = Path(folder)
    chosen, values = family_for(config, family, labels)
    table = chosen.entries(config)
    if config.task_head == "none":
        table = [without_prefix(entry, chosen.base_prefix) for entry in table]
    # A generator served to train the model: no class has both, so the discriminator is written alone.
    params = without_generator(params)
    plan = planned_tensors(table, params)
    write_weights(
        folder, plan, counted(written_tensors(table, params), "writing weights", len(plan), "tensors"), max_shard_bytes
    )
    dtypes = Counter(str(info.dtype) for info in plan.values())
    ids = dict.fromkeys(TOKEN_IDS) | dict(token_ids or {})
    described = {**ids, **values, **(fields or {}), "dtype": dtypes.most_common(1)[0][0]}
    for name, content in {**(beside or {}), CONFIG: json_bytes(described)}.items():
        with whole_file(folder / name) as file:
            file.write(content)
    return chosen
