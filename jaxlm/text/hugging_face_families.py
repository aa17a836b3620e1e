"""The sorts of tokenizers in Hugging Face directories, and how to tell which one a directory has.

tokenizer.json says everything itself. The older vocabulary files do not: what stands around a text, for one, is known
from the class that `transformers` reads them with. That is named in tokenizer_config.json, or follows from the
model's type in config.json, or, where neither is there, from the files and the tokens in them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxlm.errors import UsageError
from jaxlm.text.hugging_face_files import SENTENCE_PIECE_FILES, SETTINGS_FILE, TOKENIZER_JSON
from jaxlm.text.hugging_face_settings import AddedToken


@dataclass(frozen=True)
class TokenizerFamily:
    """A sort of tokenizer.

    Attributes:
      name: what it is called here.
      classes: the names of its classes, without the ending "Tokenizer" or "TokenizerFast".
      model_types: `model_type` in the config.json of models that use it.
      special: by name, the special tokens where the settings do not say.
      padding_side: where a batch is filled up, likewise.
    """

    name: str
    classes: tuple[str, ...] = ()
    model_types: tuple[str, ...] = ()
    special: Mapping[str, AddedToken] = field(default_factory=dict)
    padding_side: str = "right"


def _special(**contents: str) -> dict[str, AddedToken]:
    return {name: AddedToken(content) for name, content in contents.items()}


# The mask of these takes the space before it along, so that " <mask>" stands for " word".
_ANGLED = {
    **_special(bos="<s>", eos="</s>", unk="<unk>", sep="</s>", pad="<pad>", cls="<s>"),
    "mask": AddedToken("<mask>", lstrip=True),
}
_END_OF_TEXT = "<|endoftext|>"

PLAIN = TokenizerFamily("plain")
FAMILIES = (
    TokenizerFamily(
        "bert",
        ("Bert", "DistilBert", "Electra"),
        ("bert", "distilbert", "electra"),
        _special(unk="[UNK]", sep="[SEP]", pad="[PAD]", cls="[CLS]", mask="[MASK]"),
    ),
    TokenizerFamily("mpnet", ("MPNet",), ("mpnet",), {**_ANGLED, "unk": AddedToken("[UNK]")}),
    TokenizerFamily("roberta", ("Roberta", "Bart"), ("roberta", "bart"), _ANGLED),
    TokenizerFamily("gpt2", ("GPT2",), ("gpt2", "opt"), _special(bos=_END_OF_TEXT, eos=_END_OF_TEXT, unk=_END_OF_TEXT)),
    TokenizerFamily(
        "gpt_neox",
        ("GPTNeoX",),
        ("gpt_neox",),
        _special(bos=_END_OF_TEXT, eos=_END_OF_TEXT, unk=_END_OF_TEXT, pad="<|padding|>"),
    ),
    TokenizerFamily(
        "qwen2",
        ("Qwen2",),
        ("qwen2", "qwen2_moe", "qwen3", "qwen3_moe"),
        _special(eos=_END_OF_TEXT, unk=_END_OF_TEXT, pad=_END_OF_TEXT),
    ),
    TokenizerFamily("t5", ("T5",), ("t5", "mt5", "umt5"), _special(eos="</s>", unk="<unk>", pad="<pad>")),
    TokenizerFamily(
        "llama",
        ("Llama",),
        ("llama", "mistral", "mixtral"),
        _special(bos="<s>", eos="</s>", unk="<unk>"),
        padding_side="left",
    ),
    TokenizerFamily(
        "gemma",
        ("Gemma",),
        ("gemma", "gemma2", "gemma3", "gemma3_text"),
        _special(bos="<bos>", eos="<eos>", unk="<unk>", pad="<pad>", mask="<mask>"),
        padding_side="left",
    ),
    TokenizerFamily(
        "xlnet",
        ("XLNet",),
        ("xlnet",),
        {
            **_special(bos="<s>", eos="</s>", unk="<unk>", sep="<sep>", pad="<pad>", cls="<cls>"),
            "mask": AddedToken("<mask>", lstrip=True),
        },
        padding_side="left",
    ),
    TokenizerFamily("xlm_roberta", ("XLMRoberta",), ("xlm-roberta",), _ANGLED),
    # Its ids lie otherwise in its sentencepiece model than XLM-R's: only a tokenizer.json is read.
    TokenizerFamily("camembert", ("Camembert",), ("camembert",), _ANGLED),
    TokenizerFamily("marian", ("Marian",), ("marian",), _special(eos="</s>", unk="<unk>", pad="<pad>")),
)
_BY_CLASS = {name: family for family in FAMILIES for name in family.classes}
_BY_TYPE = {name: family for family in FAMILIES for name in family.model_types}
BY_NAME = {family.name: family for family in (PLAIN, *FAMILIES)}

# These class names say no more than that tokenizer.json says it all.
_GENERIC = ("PreTrained", "TokenizersBackend", "PreTrainedTokenizer")


def family_of(files: Mapping[str, bytes], settings: Mapping[str, Any], config: Mapping[str, Any]) -> TokenizerFamily:
    """Returns the family of the tokenizer in `files`.

    Args:
      files: the tokenizer files, by name.
      settings: what tokenizer_config.json holds.
      config: what config.json holds, or nothing.

    Raises:
      UsageError: a vocabulary file needs a class that is not known here; the message lists those that are.
    """
    class_name = settings.get("tokenizer_class") or config.get("tokenizer_class")
    if isinstance(class_name, str):
        stem = class_name.removesuffix("Fast").removesuffix("Tokenizer")
        if stem in _BY_CLASS:
            return _BY_CLASS[stem]
        if TOKENIZER_JSON in files:
            return PLAIN
        if stem not in _GENERIC:
            raise UsageError(
                f"{SETTINGS_FILE} names the tokenizer_class {ascii(class_name)[:100]}, whose files without a "
                f"{TOKENIZER_JSON} are not known here; known: {', '.join(sorted(_BY_CLASS))}. Save the tokenizer with "
                f"transformers, which writes one"
            )
    model_type = config.get("model_type")
    if isinstance(model_type, str) and model_type in _BY_TYPE:
        return _BY_TYPE[model_type]
    if TOKENIZER_JSON in files:
        return PLAIN
    return _guess(files)


def _guess(files: Mapping[str, bytes]) -> TokenizerFamily:
    """Returns the family that files without any settings most likely are of."""
    if "source.spm" in files:
        return BY_NAME["marian"]
    if "merges.txt" in files:
        return BY_NAME["roberta" if b'"<mask>"' in files["vocab.json"] else "gpt2"]
    if "vocab.txt" in files:
        return BY_NAME["bert"]
    name = next(name for name in SENTENCE_PIECE_FILES if name in files)
    if name == "spiece.model":
        # Only XLNet's of the two has pieces for segments.
        return BY_NAME["xlnet" if b"<sep>" in files[name] and b"<eop>" in files[name] else "t5"]
    if name == "sentencepiece.bpe.model":
        return BY_NAME["xlm_roberta"]
    return BY_NAME["gemma" if b"<start_of_turn>" in files[name] else "llama"]
