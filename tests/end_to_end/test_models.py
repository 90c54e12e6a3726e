"""From the zip to a texture by a model that came from the hub: the way of a new user, with a hub on this computer."""

import subprocess
from pathlib import Path

from tests.support.local_hub import Hub

ROOT = Path(__file__).resolve().parents[2]
WRITE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.support.tiny_models import write_sd15
write_sd15(Path(sys.argv[2]), variant="fp16")
"""


def test_a_model_is_got_used_and_removed_in_blender(in_blender, backend_python, tmp_path):
    published = tmp_path / "published"
    published.mkdir()
    subprocess.run([str(backend_python), "-c", WRITE, str(ROOT), str(published)], check=True, timeout=600)
    with Hub({"tiny/sd15": published}) as hub:
        facts = in_blender("a_model_from_the_hub", endpoint=hub.address, model="tiny/sd15")
    assert "Allow Online Access" in facts["offline"]
    assert facts["got"] == ["FINISHED"] and (facts["state"], facts["own"]) == ("ready", True)
    assert facts["image"] and "tiny/sd15" not in facts["after"]
