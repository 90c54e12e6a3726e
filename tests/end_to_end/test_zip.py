"""The zip that artists install."""

import json
import zipfile

from tools.commands import package

MOST_MEGABYTES = 40


def test_blenders_own_tool_accepts_the_zip(extension_tool, zip_path):
    said = extension_tool.run("validate", str(zip_path))
    assert "success" in said.lower(), said


def test_the_zip_holds_the_three_rooms_the_licence_and_the_mini_model(zip_path):
    names = set(zipfile.ZipFile(zip_path).namelist())
    for name in ("blender_manifest.toml", "LICENSE", "THIRD_PARTY.md", "__init__.py"):
        assert name in names
    assert {"launch.py", "job/setup/locks/backend.txt"} <= names
    assert any(n.startswith("addon/") for n in names) and any(n.startswith("backend/") for n in names)
    weights = [n for n in names if n.endswith(".safetensors")]
    assert len(weights) >= 3, f"text encoder, VAE and UNet of the mini model belong into the zip; it has {weights}"


def test_the_zip_holds_nothing_that_is_only_for_developers(zip_path):
    wrong = [
        info.filename
        for info in zipfile.ZipFile(zip_path).infolist()
        if "__pycache__" in info.filename
        or info.filename.endswith((".pyc", ".blend", ".whl", ".zip", ".pt", ".ckpt", ".pkl"))
        or info.filename.split("/")[0] in ("tests", "tools", "docs", ".build", ".git")
        or any(part.startswith(".") for part in info.filename.split("/"))
    ]
    assert not wrong


def test_the_zip_is_small_enough_to_send(zip_path):
    assert zip_path.stat().st_size < MOST_MEGABYTES * 1e6


def test_a_repository_index_offers_the_zip(extension_tool, zip_path):
    extension_tool.run("server-generate", "--repo-dir", str(zip_path.parent))
    index = json.loads((zip_path.parent / "index.json").read_text())
    (entry,) = index["data"]
    assert entry["id"] == "csd_blender" and entry["archive_url"].endswith(zip_path.name)
    assert entry["blender_version_min"] == "4.2.0" and entry["license"] == ["SPDX:GPL-3.0-or-later"]


def test_each_main_system_gets_a_zip_with_its_own_wheel_only(extension_tool, tmp_path):
    names = [f"uv-9.9.9-py3-none-{tag}.whl" for tag in package.SYSTEMS.values()]
    for name in names:
        with zipfile.ZipFile(tmp_path / name, "w") as wheel:
            wheel.writestr("uv-9.9.9.dist-info/RECORD", "")
    made = package.build_system_zips(extension_tool, tmp_path / "out", [tmp_path / name for name in names])
    assert len(made) == len(package.SYSTEMS)
    for path, system, name in zip(made, package.SYSTEMS, names):
        assert path.name.endswith(system.replace("-", "_") + ".zip")
        with zipfile.ZipFile(path) as archive:
            wheels = [n for n in archive.namelist() if n.endswith(".whl")]
            manifest = archive.read("blender_manifest.toml").decode()
        assert wheels == [f"wheels/{name}"]
        assert f'platforms = ["{system}"]' in manifest.partition("[build.generated]")[2]
