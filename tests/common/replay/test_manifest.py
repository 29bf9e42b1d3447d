import json
import pathlib

import pytest

from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.common.replay.store import DatasetError

EARLIER = pathlib.Path(__file__).parents[2] / "earlier_layout"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"steps": -1}', "steps must be bigger than or equal to 0"),
        ('{"steps": 1e400}', "1e400 is not a finite number"),
        ('{"steps": NaN}', "NaN is not a finite number"),
        ('{"steps": 1, "steps": 2}', "the key 'steps' twice"),
        ('{"spaces": {"image": 1}}', "spaces.image must be object"),
        ('{"spaces": {"action": {"shape": [6], "dtype": "object"}}}', "dtype must"),
        ('{"policies": [{"share": 1}]}', "policies"),
        ('{"recipe": {"seed": 0, "speed": 9}}', "speed"),
        ('{"recipe": {"envs": 99999999999}}', "recipe.envs must be smaller"),
        ("[]", "must be object"),
        ("[" * 10**5, "nests too deep"),
    ],
)
def test_what_is_wrong_with_a_manifest_is_named(tmp_path, text, reason):
    (tmp_path / store.MANIFEST).write_text(text)
    with pytest.raises(DatasetError, match=f"manifest.json is damaged: .*{reason}"):
        store.read_manifest(tmp_path)


def test_manifests_of_every_version_are_read(tmp_path):
    for path in EARLIER.rglob(store.MANIFEST):
        assert store.read_manifest(path.parent) == json.loads(path.read_text())
    policies = {"random": {"share": 1.0, "steps": 4, "seed": 0}}
    old = {"task": "atari_pong", "policies": policies, "steps": 4, "more": [1, None]}
    (tmp_path / store.MANIFEST).write_text(json.dumps(old))
    assert store.read_manifest(tmp_path) == old
