"""A model of ours for EleutherAI's language-model evaluation harness (`pip install 'jaxlm[lm-eval]'`).

Contexts, windows and stops are those of the harness's own Hugging Face backend, so that its tasks give equal results.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lm_eval import evaluator
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.tasks import TaskManager

from jaxlm.errors import UsageError
from jaxlm.generation.config import GenerationConfig
from jaxlm.generation.text import stream_from_ids
from jaxlm.language_model import LanguageModel, load
from jaxlm.prediction.loglikelihood import continuation_scores, rolling_windows
from jaxlm.progress import Progress, working
from jaxlm.text.conversation import PLAIN, Message, render_conversation

MAX_NEW_TOKENS = 256  # where a task does not say; the harness's own default
END_MARK = "CONTINUE_FINAL_MESSAGE_TAG "  # transformers' own


@register_model("jaxlm")
class HarnessModel(TemplateLM):
    """What the harness asks of a model."""

    def __init__(self, pretrained: str | LanguageModel, batch_size: int | str = 16, **unused: Any):
        """Takes a model, or the run folder or Hugging Face directory of one.

        Raises:
          UsageError: it does not read from left to right, or has neither a begin nor an end id.
        """
        super().__init__()
        self.model = load(pretrained) if isinstance(pretrained, str) else pretrained
        config = self.model.config
        if config.architecture not in ("decoder", "lstm") or config.task_head != "language_model":
            raise UsageError(
                "the harness measures models that read from left to right (architecture 'decoder' or 'lstm'), not "
                f"{config.architecture!r} with task_head {config.task_head!r}"
            )
        self.batch_size = int(batch_size) if str(batch_size).isdigit() else 16
        self.tokenizer = self.model.tokenizer
        if self.tokenizer.bos_id is None and self.tokenizer.eos_id is None:
            raise UsageError("the tokenizer has neither a begin nor an end id, which stands before a text: use another")

    @property
    def max_length(self) -> int:
        """The model's context."""
        assert self.model.config.max_length is not None
        return self.model.config.max_length

    @property
    def eot_token_id(self) -> int:
        """The id that ends a text."""
        found = self.tokenizer.eos_id if self.tokenizer.eos_id is not None else self.tokenizer.bos_id
        assert found is not None
        return found

    @property
    def prefix_token_id(self) -> int:
        """The id that stands before a text without a context."""
        return self.eot_token_id if self.tokenizer.bos_id is None else self.tokenizer.bos_id

    @property
    def tokenizer_name(self) -> str:
        """What results are cached under."""
        return self.tokenizer.fingerprint()

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **unused: Any) -> list[int]:
        """Returns ids: with the begin id that the model expects, unless told otherwise."""
        if add_special_tokens is False:
            return self.tokenizer.encode(string)
        return self.tokenizer.encode_prompt(string)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """Returns the source of the chat template, which the harness keeps with its results.

        It is the one that the model was fine-tuned with (task.chat_template), else the tokenizer's.

        Raises:
          UsageError: there is none.
        """
        if not chat_template:
            return None
        task, known = self.model.experiment.task, getattr(self.tokenizer, "chat_templates", {})
        if task.chat_template:
            return known.get(task.chat_template, task.chat_template)
        if "default" not in known and task.kind in ("chat", "preference"):
            return PLAIN
        if "default" not in known:
            raise UsageError("the tokenizer has no chat template: leave --chat out, and the requests are plain text")
        return known["default"]

    def apply_chat_template(self, chat_history: Sequence[Any], add_generation_prompt: bool = True) -> str:
        """Returns a conversation as text: before an answer, or cut after the last message, which is to be gone on with.

        Raises:
          UsageError: there is no chat template, or one that leaves out the message to go on with.
        """
        messages = [dict(message) for message in chat_history]
        if add_generation_prompt or not messages:
            return self._as_text(messages, add_generation_prompt)
        # As transformers' `continue_final_message`: the same words may stand elsewhere, so the end is marked.
        message = messages[-1]["content"]
        messages[-1]["content"] = message + END_MARK
        text, mark, after = self._as_text(messages, False).rpartition(END_MARK.strip())
        if not mark or message.strip() not in text:
            raise UsageError("the chat template leaves out the last message, which is to be continued")
        # The mark ends in a space: without it, the template strips its messages.
        return text if after.startswith(" ") else text.rstrip()

    def _as_text(self, messages: Sequence[Message], reply: bool) -> str:
        found = render_conversation(self.tokenizer, messages, self.model.experiment.task.chat_template, reply)
        if any(end < len(found.text) for end in found.ends):
            raise UsageError(
                "the plain chat template ends answers with an id that the tokenizer does not read in a text: leave "
                "examples before the question out (--num-fewshot 0)"
            )
        return found.text

    def _loglikelihood_tokens(
        self, requests: list[tuple[Any, list[int], list[int]]], **unused: Any
    ) -> list[tuple[float, bool]]:
        pairs = [(context, continuation) for _, context, continuation in requests]
        found = continuation_scores(self.model.config, self.model.params, pairs, self.batch_size)
        for (texts, _, _), answer in zip(requests, found, strict=True):
            if texts is not None:
                self.cache_hook.add_partial("loglikelihood", texts, answer)
        return found

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Returns the log probabilities of whole texts, in windows that do not overlap."""
        windows, owners = [], []
        for number, request in enumerate(requests):
            (text,) = request.args
            ids = self.tok_encode(text) if text else self._ids_of_nothing()
            own = list(rolling_windows(ids, self.prefix_token_id, self.max_length)) if ids else []
            windows += own
            owners += [number] * len(own)
        totals = [0.0] * len(requests)
        scores = continuation_scores(self.model.config, self.model.params, windows, self.batch_size)
        for number, (score, _) in zip(owners, scores, strict=True):
            totals[number] += score
        return totals

    def _ids_of_nothing(self) -> list[int]:
        """What stands before every text: an empty prompt is the begin id even where texts have none before them."""
        ids = self.tok_encode("")
        return ids if self.tok_encode(" ")[: len(ids)] == ids else []

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Returns what the model writes after each context, up to a stop text."""
        with working("writing", len(requests), "texts") as progress:
            return self._written(requests, progress)

    def _written(self, requests: list[Any], progress: Progress) -> list[str]:
        found: dict[int, str] = {}
        groups: dict[str, list[int]] = {}
        for number, request in enumerate(requests):
            groups.setdefault(repr(sorted(request.args[1].items())), []).append(number)
        for numbers in groups.values():
            options = normalize_gen_kwargs(requests[numbers[0]].args[1], MAX_NEW_TOKENS)
            eos = self.tokenizer.token_name(self.eot_token_id)
            stops = handle_stop_sequences(options["until"], eos=eos)
            new = options["max_gen_toks"]
            room = self.max_length - new
            if room < 1:
                raise UsageError(f"{new} new tokens leave no room for a context of the model's {self.max_length}")
            generation = GenerationConfig(
                max_new_tokens=new,
                temperature=float(options.get("temperature", 0.0)),
                top_k=int(options.get("top_k", 0) or 0),
                top_p=float(options.get("top_p", 1.0) or 1.0),
                stop=tuple(stop for stop in stops if stop),
            )
            prompts = {number: self.tok_encode(requests[number].args[0])[-room:] for number in numbers}
            order = sorted(numbers, key=lambda number: -len(prompts[number]))
            for start in range(0, len(order), self.batch_size):
                chosen = order[start : start + self.batch_size]
                # Rows draw by (seed, row): one seed for all batches would give a repeated request the same text.
                own = replace(generation, seed=start)
                ids = [prompts[number] for number in chosen]
                pieces = stream_from_ids(self.model.generator, self.tokenizer, ids, own, 32)
                for number, parts in zip(chosen, zip(*pieces, strict=True), strict=True):
                    found[number] = postprocess_generated_text("".join(parts), stops, None)
                    self.cache_hook.add_partial("generate_until", requests[number].args, found[number])
                progress.advance(len(chosen))
        return [found[number] for number in range(len(requests))]


def run_harness(
    model: str | LanguageModel,
    tasks: Sequence[str],
    batch_size: int = 16,
    limit: int | None = None,
    num_fewshot: int | None = None,
    include_path: str | None = None,
    chat: bool = False,
    system: str | None = None,
) -> dict[str, Any]:
    """Returns what the harness measures, by task: its own results, as it gives them.

    Args:
      model: of ours, or the run folder or Hugging Face directory of one; loaded after the tasks are known.
      tasks: names of the harness's tasks.
      batch_size: requests at a time.
      limit: examples of each task; none takes all.
      num_fewshot: examples before each question; none takes the task's own number.
      include_path: folder of tasks of one's own.
      chat: whether requests are conversations, by the chat template that the model was fine-tuned with, else the
        tokenizer's, each example before a question a turn.
      system: what is said before each request; none says nothing.

    Raises:
      UsageError: an unknown task, or a model that the harness cannot measure, or not by conversations.
    """
    manager = TaskManager(include_path=include_path)
    unknown = [name for name in tasks if not manager.match_tasks([name])]
    if unknown:
        raise UsageError(f"the harness has no task {', '.join(unknown)}; name a folder of your own by --include-path")
    asked = HarnessModel(model, batch_size)
    asked.chat_template(chat)  # before any work: is there one?
    found = evaluator.simple_evaluate(
        model=asked,
        tasks=list(tasks),
        limit=limit,
        num_fewshot=num_fewshot,
        task_manager=manager,
        apply_chat_template=chat,
        fewshot_as_multiturn=chat,
        system_instruction=system,
        log_samples=False,
    )
    return dict(found or {})
