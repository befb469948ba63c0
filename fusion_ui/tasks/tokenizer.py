"""Text to token ids, as a checkpoint's own tokenizer gives them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.domains.batches import EncodedText
from fusion_ui.domains.items import show_items
from fusion_ui.errors import CheckpointError


@lru_cache(maxsize=8)
def _load_tokenizer(directory: str, fingerprint: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(directory, trust_remote_code=False)


@lru_cache(maxsize=4)
def _load_word_tokenizer(directory: str, fingerprint: str) -> Any:
    """For text that is given as words. Byte-level BPE writes the space before a word into its first token: without
    it, as in the middle of a word, `run_ner` and what else trains such models never reads them.
    """  # fmt: skip
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import AutoTokenizer

    usual = _load_tokenizer(directory, fingerprint)
    is_byte_level = usual.is_fast and isinstance(usual.backend_tokenizer.pre_tokenizer, ByteLevel)
    if not is_byte_level or usual.add_prefix_space:
        return usual
    return AutoTokenizer.from_pretrained(directory, trust_remote_code=False, add_prefix_space=True)


@contextmanager
def _refusing_panics(name: str) -> Iterator[None]:
    """The tokenizers' own language reports a pattern that it cannot finish by an exception outside of Exception."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise CheckpointError(
            f"The tokenizer of {name} cannot finish: {first_line(error)} Use the tokenizer of its base model."
        ) from None


class Tokenizer:
    """Text to token ids, and the id that pads them."""

    def __init__(self, checkpoint: Checkpoint, max_tokens: int) -> None:
        try:
            with _refusing_panics(checkpoint.name):
                self._tokenizer = _load_tokenizer(str(checkpoint.directory), checkpoint.tokenizer_fingerprint)
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(f"The tokenizer of {checkpoint.name} cannot be loaded: {first_line(error)}") from None
        self._name, config = checkpoint.name, checkpoint.config
        self._place = str(checkpoint.directory), checkpoint.tokenizer_fingerprint
        # RoBERTa's 514 positions hold 512 tokens, which only its tokenizer says; GPT-2 calls its limit n_positions.
        limits = [config.get("max_position_embeddings"), config.get("n_positions"), self._tokenizer.model_max_length]
        self.max_tokens = min([max_tokens, *(int(limit) for limit in limits if limit)])
        self._config_pad_id = config.get("pad_token_id")
        self._end_id = _first(config.get("eos_token_id"), self._tokenizer.eos_token_id)
        # RoBERTa has an embedding for one type, DeBERTa for none: there is nothing to tell them.
        self._has_types = config.get("type_vocab_size") not in (0, 1)

    @property
    def pad_id(self) -> int:
        """The id that fills a batch: the model's own, by which a GPT-2 classifier finds a text's last token."""
        known = (i for i in (self._config_pad_id, self._tokenizer.pad_token_id) if i is not None)
        return next(known, 0)

    def encode(self, texts: Sequence[str], pairs: Sequence[str] = ()) -> list[EncodedText]:
        """Tokens of each text, special tokens included, cut at `max_tokens`.

        Args:
            pairs: the second text of each example; of the two, the longer one is cut first.
        """
        encoded = self._tokenize(texts, pairs, truncation=True, max_length=self.max_tokens)
        ids = [tuple(row) or (self.pad_id,) for row in encoded["input_ids"]]  # without a token there is nothing to read
        if not (pairs and self._has_types and "token_type_ids" in encoded):
            return [EncodedText(row) for row in ids]
        types = [tuple(row) or (0,) for row in encoded["token_type_ids"]]
        return [EncodedText(*both) for both in zip(ids, types, strict=True)]

    def encode_words(self, sentences: Sequence[Sequence[str]]) -> list[EncodedText]:
        """Tokens of each sentence and where its words begin, special tokens included, cut at `max_tokens`.

        Raises:
            CheckpointError: the tokenizer does not say which word a token is of.
        """
        with _refusing_panics(self._name):
            tokenizer = _load_word_tokenizer(*self._place)
            if not tokenizer.is_fast:
                raise CheckpointError(
                    f"The tokenizer of {self._name} does not say which word a token is of, so words cannot be tagged. "
                    "Save the model with a fast tokenizer (tokenizer.json)."
                )
            words = [[_readable(word) for word in sentence] for sentence in sentences]
            if not words:
                return []
            encoded = tokenizer(words, is_split_into_words=True, truncation=True, max_length=self.max_tokens)
        places = (_first_tokens(encoded.word_ids(i), len(sentence)) for i, sentence in enumerate(words))
        return [
            EncodedText(tuple(ids) or (self.pad_id,), words=first)
            for ids, first in zip(encoded["input_ids"], places, strict=True)
        ]

    def encode_answers(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Tokens of each text as a model that writes it from another text should give them, the end included, cut at
        `max_tokens`.

        Raises:
            CheckpointError: nothing says which token ends a text.
        """
        if self._end_id is None:
            raise CheckpointError(
                f"The model {self._name} does not say which token its answers end with. "
                "Write eos_token_id into its config.json."
            )
        with _refusing_panics(self._name):
            readable, limits = [_readable(text) for text in texts], {"truncation": True, "max_length": self.max_tokens}
            encoded = self._tokenizer(text_target=readable, **limits)["input_ids"]
        bodies = (row[:-1] if row and row[-1] == self._end_id else row for row in encoded)
        return [(*body[: self.max_tokens - 1], self._end_id) for body in bodies]

    def encode_start(self, text: str, max_tokens: int) -> tuple[int, ...]:
        """The last `max_tokens` tokens of a text that is to go on: without the token that would end it."""
        (encoded,) = self._tokenize([text], [], verbose=False)["input_ids"]
        ends = {self._end_id, self._tokenizer.eos_token_id, self._tokenizer.sep_token_id} - {None}
        ids = list(encoded)
        while len(ids) > 1 and ids[-1] in ends:
            ids.pop()
        return tuple(ids[-max_tokens:]) or (self.pad_id,)

    def encode_continuation(self, text: str) -> tuple[int, ...]:
        """The tokens that a text adds where it stands behind another one."""
        before, both = self._tokenize(["a", f"a {text}"], [], add_special_tokens=False)["input_ids"]
        if both[: len(before)] == before:
            return tuple(both[len(before) :])
        (alone,) = self._tokenize([f" {text}"], [], add_special_tokens=False)["input_ids"]
        return tuple(alone)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens left out."""
        with _refusing_panics(self._name):
            return self._tokenizer.decode(list(ids), skip_special_tokens=True)

    def count_tokens(self, texts: Sequence[str], pairs: Sequence[str] = ()) -> list[int]:
        """How many tokens `encode` would give each text if none were cut."""
        return [len(row) for row in self._tokenize(texts, pairs, verbose=False)["input_ids"]]

    def _tokenize(self, texts: Sequence[str], pairs: Sequence[str], **options: Any) -> Mapping[str, Any]:
        if not texts:
            return {"input_ids": []}
        readable = [_readable(show_items(text)) for text in texts]  # a list of words has as many tokens
        second = [_readable(text) for text in pairs] or None
        with _refusing_panics(self._name):
            return self._tokenizer(readable, second, **options)


def _first_tokens(word_ids: Sequence[int | None], num_words: int) -> tuple[int, ...]:
    """Position of each word's first token; -1 where it was cut off, or is of characters that make no token."""
    first = [-1] * num_words
    for position in reversed(range(len(word_ids))):
        if (word := word_ids[position]) is not None:
            first[word] = position
    return tuple(first)


def _readable(text: str) -> str:
    """A text that no tokenizer can take (half of a surrogate pair) loses just those characters."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _first(*ids: int | Sequence[int] | None) -> int | None:
    """The first id that is given; of several that mean the same the first."""
    found = (i if isinstance(i, int) else next(iter(i), None) for i in ids if i is not None)
    return next(found, None)


def first_line(error: BaseException) -> str:
    """What an error says first."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
