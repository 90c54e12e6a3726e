"""`build.py bench --cuda` hands its options on to the laboratory, in the backend's Python."""

from pathlib import Path

from tools.commands import bench

ROOT = Path(__file__).resolve().parents[2]


def test_the_door_passes_its_options_on(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(bench.environments, "ensure", lambda name, *_: Path(f"/{name}"))
    monkeypatch.setattr(bench.environments, "with_check_tools", lambda check: {"lent": str(check)})
    monkeypatch.setattr(bench.subprocess, "call", lambda command, **settings: seen.append((command, settings)) or 3)
    monkeypatch.chdir(tmp_path)
    assert bench.run(["--cuda", "--out", "here", "--nvdiffrast=there", "--only", "--out-of"], None) == 3
    command, settings = seen[0]
    places = ["--out", str(tmp_path / "here"), f"--nvdiffrast={tmp_path / 'there'}"]
    assert command == [str(Path("/backend")), "-m", "tools.lab.cuda", *places, "--only", "--out-of"]
    assert settings["cwd"] == ROOT and settings["env"] == {"lent": str(Path("/check"))}
