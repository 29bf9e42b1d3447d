"""The choice of jobs."""

import pathlib

import pytest

from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.reproduction.jobs import Job, select

JOBS = [
    Job(name, "train", (), (), pathlib.Path("/x"), 1, "update")
    for name in ("dqn_asterix", "collect", "asterix/pretrain_0")
]


def test_only_finds_jobs_by_expressions():
    found = [job.name for job in select(JOBS, ["^dqn", "pretrain"])]
    assert found == ["dqn_asterix", "asterix/pretrain_0"]


@pytest.mark.parametrize("pattern", ["nothing", "("])
def test_an_expression_that_finds_nothing_is_named(pattern):
    with pytest.raises(ConfigError, match="--only"):
        select(JOBS, [pattern])
