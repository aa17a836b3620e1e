"""A disk that is full while records are written: said in one line with the place, and nothing half written is left."""

import contextlib
import random
import resource

import pytest

from jaxlm.data.config import DataConfig
from jaxlm.data.corpus import prepare_corpus
from jaxlm.data.preparation.shard import _Writer
from jaxlm.data.record_writes import record_writes
from jaxlm.errors import DataError


@contextlib.contextmanager
def files_of_at_most(size):
    """Lets no file of this process grow beyond `size` bytes, which the system tells as it tells a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_cache_of_a_corpus(tmp_path):
    text = tmp_path / "text.txt"
    noise = random.Random(0)
    text.write_text("\n\n".join(noise.randbytes(4096).hex() for _ in range(200)))
    config = DataConfig(source="text", files=(str(text),), cache_dir=str(tmp_path / "cache"))
    message = r"^cannot write corpus \w+ to the cache at .*corpora.*: File too large: .*array_record"
    with files_of_at_most(1 << 18), pytest.raises(DataError, match=message) as caught:
        prepare_corpus(config)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "cache" / "corpora").iterdir()) == []
    assert not prepare_corpus(config).reused


def test_a_prepared_shard(tmp_path):
    noise = random.Random(0)

    def write():
        with _Writer(tmp_path / "shard") as writer:
            for _ in range(50):
                writer.add(noise.randbytes(1 << 16))

    with files_of_at_most(1 << 18), pytest.raises(OSError, match=r"^File too large: .*shard$"):
        write()


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match=r"^other$"), record_writes():
        raise RuntimeError("other")
