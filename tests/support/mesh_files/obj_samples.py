"""OBJ files in the dialects of many programs."""

# ruff: noqa: E501 (one row a file)

from __future__ import annotations

import numpy as np

from tests.support.mesh_files.shapes import (
    CUBE,
    CUBE_QUADS,
    L_BOX,
    QUAD_UV,
    UV_AREA,
    Sample,
    cube,
    prism,
    upright,
)

POINTS = "".join(f"v {x:g} {y:g} {z:g}\n" for x, y, z in CUBE)
FACES = "".join("f " + " ".join(str(i + 1) for i in q) + "\n" for q in CUBE_QUADS)
UVS = "".join(f"vt {u:.6f} {v:.6f}\n" for u, v in QUAD_UV.reshape(-1, 2))
UV_FACES = "".join(
    "f " + " ".join(f"{i + 1}/{4 * k + n + 1}" for n, i in enumerate(q)) + "\n" for k, q in enumerate(CUBE_QUADS)
)
RELATIVE_UV_FACES = "".join(
    "f " + " ".join(f"{i - 8}/{4 * k + n - 24}" for n, i in enumerate(q)) + "\n" for k, q in enumerate(CUBE_QUADS)
)
ONE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"
SQUARE_BOX = upright((0, 0, 0), (1, 1, 0))


def obj(name: str, text: str | bytes, **known) -> Sample:
    name += "" if name.lower().endswith(".obj") else ".obj"
    return Sample(name, {name: text if isinstance(text, bytes) else text.encode("utf8")}, **known)


def concave(first: int) -> Sample:
    points, faces = prism(first)
    text = "".join(f"v {x:g} {y:g} {z:g}\n" for x, y, z in points)
    text += "".join("f " + " ".join(str(i + 1) for i in face) + "\n" for face in faces)
    return obj(f"concave_from_{first}", text, area=22.0, volume=5.0, box=upright(*L_BOX))


def interleaved() -> str:
    text = ""
    for name, along in (("a", 0), ("b", 5), ("c", 10)):
        text += f"o {name}\n" + "".join(f"v {x + along:g} {y:g} {z:g}\n" for x, y, z in CUBE)
        text += "".join("f " + " ".join(str(i - 8) for i in q) + "\n" for q in CUBE_QUADS)
    return text


def polygon(points: list, uv: bool = False) -> str:
    text = "".join("v " + " ".join(f"{c:g}" for c in (*p, 0)[:3]) + "\n" for p in points)
    text += "".join(f"vt {p[0] / 4:g} {p[1] / 4:g}\n" for p in points) if uv else ""
    return text + "f " + " ".join(f"{i}/{i}" if uv else f"{i}" for i in range(1, len(points) + 1)) + "\n"


ARROW = [(0, 0), (2, 1), (0, 2), (0.5, 1)]  # a quad that is not convex: area 1.5
COMB = [(0, 0), (7, 0), (7, 3), (6, 3), (6, 1), (5, 1), (5, 3), (4, 3), (4, 1), (3, 1), (3, 3), (2, 3), (2, 1), (1, 1),
        (1, 3), (0, 3)]  # fmt: skip
FRAME = [(0, 0), (3, 0), (3, 3), (0, 3), (0, 0), (1, 1), (1, 2), (2, 2), (2, 1), (1, 1)]  # a hole, by a doubled edge
STRAIGHT = [(0, 0), (1, 0), (2, 0), (3, 0), (3, 1), (3, 2), (1.5, 2), (0, 2), (0, 1)]
FAR = "".join(f"v {4567890 + x * 0.05:.4f} {512345 + y * 0.05:.4f} {z * 0.05:.4f}\n" for x, y, z in CUBE)
FAR_BOX = upright((4567889.95, 512344.95, -0.05), (4567890.05, 512345.05, 0.05))

SAMPLES = [
    *(concave(first) for first in range(6)),
    obj("plain", POINTS + FACES, **cube()),
    obj("UPPER.OBJ", POINTS + FACES, **cube()),
    obj("with_uv", POINTS + UVS + UV_FACES, **cube(uv=UV_AREA)),
    obj("relative_interleaved", interleaved(), area=72.0, volume=24.0, box=upright((-1, -1, -1), (11, 1, 1))),
    obj("relative_uv", POINTS + UVS + RELATIVE_UV_FACES, **cube(uv=UV_AREA)),
    obj("tabs", (POINTS + UVS + UV_FACES).replace(" ", "\t"), **cube(uv=UV_AREA)),
    obj("blanks", (POINTS + FACES).replace(" ", "   ").replace("\n", "  \n\n"), **cube()),
    obj("indented", "".join("  " + line + "\n" for line in (POINTS + FACES).splitlines()), **cube()),
    obj("comments", (POINTS + FACES).replace("\n", " # of the cube\n"), **cube()),
    obj("comment_touches", (POINTS + FACES).replace("\n", "# 7 8 9\n"), **cube(), blender="takes the sign for a part of the number"),
    obj("mark", b"\xef\xbb\xbf" + (POINTS + FACES).encode(), **cube(), blender="loses the first line"),
    obj("crlf", (POINTS + FACES).replace("\n", "\r\n"), **cube()),
    obj("cr_only", (POINTS + UVS + UV_FACES).replace("\n", "\r"), **cube(uv=UV_AREA), blender="finds no line"),
    obj("no_last_newline", (POINTS + FACES).rstrip(), **cube()),
    obj("continued", POINTS.replace(" ", " \\\n ", 4) + FACES.replace(" ", " \\\n", 3), **cube()),
    obj("continued_crlf", (POINTS + FACES.replace(" ", " \\\n", 3)).replace("\n", "\r\n"), **cube()),
    obj("backslash_ends_a_comment", "# from C:\\models\\\n" + POINTS.replace("\n", "  # D:\\\n", 1) + "usemtl C:\\paint\\\n" + FACES, **cube(), blender="joins the next line to the comment"),
    obj("utf16_little", b"\xff\xfe" + (POINTS + FACES).encode("utf-16-le"), **cube(), blender="reads no UTF-16"),
    obj("utf16_big", b"\xfe\xff" + (POINTS + FACES).encode("utf-16-be"), **cube(), blender="reads no UTF-16"),
    obj("latin1_names", b"o Geh\xe4use\nusemtl gr\xfcn\n" + (POINTS + FACES).encode(), **cube()),
    obj("normals_only", POINTS + "vn 0 0 1\n" + "".join("f " + " ".join(f"{i + 1}//1" for i in q) + "\n" for q in CUBE_QUADS), **cube()),
    obj("trailing_slashes", POINTS + FACES.replace(" ", "/ ").replace("f/", "f").replace("\n", "/\n"), **cube()),
    obj("vertex_colors", POINTS.replace("\n", " 0.5 0.25 1\n") + FACES, **cube()),
    obj("four_components", POINTS.replace("\n", " 1.0\n") + FACES, **cube()),
    obj("exponents", "".join(f"v {x:e} {y:.3E} {z:+.1e}\n" for x, y, z in CUBE) + FACES, **cube()),
    obj("points_and_lines", POINTS + "p 1 2\nl 1 2 3\nl 1/1 2/1\n" + FACES, **cube()),
    obj("two_corners", POINTS + "f 1 2\n" + FACES, **cube()),
    obj("groups", "g a b\ns off\n" + POINTS + FACES.replace("f", "g c\ns 1\nf", 1) + "usemtl none\n", **cube()),
    obj("faces_first", FACES + POINTS, **cube(), blender="knows only vertices of the lines before"),
    obj("loose_vertex", "v 900 900 900\n" + POINTS + "".join("f " + " ".join(str(i + 2) for i in q) + "\n" for q in CUBE_QUADS), **cube()),
    obj("one_uv_number", POINTS + "vt 0.5\nvt 0.25\n" + FACES, **cube()),
    obj("uv_w", POINTS + UVS.replace("\n", " 0.0\n") + UV_FACES, **cube(uv=UV_AREA)),
    obj("uv_missing_in_a_face", POINTS + UVS + UV_FACES.rsplit("f", 1)[0] + FACES.rsplit("\n", 2)[1] + "\n", **cube(uv=UV_AREA * 5 / 6)),
    obj("uv_missing_in_a_corner", POINTS + UVS + UV_FACES.replace("1/1 ", "1 ", 1), **cube(uv=UV_AREA * 5 / 6), blender="puts that corner at (0, 0)"),
    obj("arrow", polygon(ARROW), area=1.5, box=upright((0, 0, 0), (2, 2, 0))),
    obj("arrow_turned", polygon(ARROW[1:] + ARROW[:1]), area=1.5, box=upright((0, 0, 0), (2, 2, 0))),
    obj("comb", polygon(COMB, uv=True), area=15.0, box=upright((0, 0, 0), (7, 3, 0)), uv=15 / 16),
    obj("comb_turned_over", polygon(COMB[::-1], uv=True), area=15.0, box=upright((0, 0, 0), (7, 3, 0)), uv=-15 / 16),
    obj("hole_by_doubled_edge", polygon(FRAME), area=8.0, box=upright((0, 0, 0), (3, 3, 0))),
    obj("straight_sides", polygon(STRAIGHT), area=6.0, box=upright((0, 0, 0), (3, 2, 0))),
    obj("tilted", "".join(f"v {x:g} {y:g} {x + 2 * y:g}\n" for x, y in COMB) + "f " + " ".join(map(str, range(1, 17))), area=15 * 6**0.5, box=upright((0, 0, 0), (7, 3, 13))),
    obj("bent_quad", "v 0 0 0\nv 1 0 0\nv 1 1 1\nv 0 1 0\nf 1 2 3 4\n", area=2**0.5, box=upright((0, 0, 0), (1, 1, 1))),
    obj("far_away", FAR + FACES, area=0.06, volume=0.001, box=FAR_BOX, blender="keeps 32 bits"),
    obj("far_loose_at_origin", "v 0 0 0\n" + FAR + "".join("f " + " ".join(str(i + 2) for i in q) + "\n" for q in CUBE_QUADS), area=0.06, volume=0.001, box=FAR_BOX, blender="keeps 32 bits"),
    obj("huge_polygon", polygon([(np.cos(a), np.sin(a)) for a in np.arange(2000) * np.pi / 1000]), area=1000 * np.sin(np.pi / 1000), box=upright((-1, -1, 0), (1, 1, 0))),
    obj("index_zero", ONE + "f 0 1 2\n", refused=("line 5", "vertex 0")),
    obj("index_beyond", ONE + "f 1 2 3\nf 1 2 5\n", refused=("line 6", "vertex 5")),
    obj("index_before", ONE + "f -5 -2 -1\n", refused=("line 5", "vertex -5")),
    obj("index_of_many_digits", ONE + "f 1 2 " + "9" * 30 + "\n", refused=("line 5",)),
    obj("uv_beyond", ONE + "vt 0 0\nf 1/1 2/1 3/2\n", refused=("line 6", "UV 2")),
    obj("uv_zero", ONE + "vt 0 0\nf 1/1 2/1 3/0\n", refused=("line 6", "UV 0")),
    obj("words_in_a_vertex", "v 0 0 zero\n" + ONE + "f 1 2 3\n", refused=("line 1",)),
    obj("short_vertex", "v 0 0\n" + ONE + "f 1 2 3\n", refused=("line 1",)),
    obj("words_in_a_face", ONE + "f 1 2 three\n", refused=("line 5",)),
    obj("half_a_number", ONE + "f 1 2 3.5\n", refused=("line 5",)),
    obj("not_a_number", ONE.replace("v 1 1", "v nan 1") + "f 1 2 3 4\n", refused=("not numbers",)),
    obj("infinite", ONE.replace("v 1 1", "v inf 1") + "f 1 2 3 4\n", refused=("not numbers",)),
    obj("too_large_for_32_bits", ONE.replace("v 1 1", "v 1e39 1") + "f 1 2 3 4\n", refused=("not numbers",)),
    obj("no_faces", ONE, refused=("no faces",)),
    obj("web_page", "<!DOCTYPE html><html>404</html>\n", refused=("cannot be read", "web page")),
    obj("prose", "Dear reader,\nf is a letter.\n", refused=("cannot be read",)),
    obj("empty", "", refused=("cannot be read", "empty")),
    obj("binary", bytes(range(256)) * 4, refused=("cannot be read", "binary")),
    obj("half_utf16", b"\xff\xfe\x00f 1 2 3\x00", refused=("cannot be read",)),
    obj("really_glb", b"glTF\x02\0\0\0" + bytes(40), refused=("cannot be read", ".glb")),
]  # fmt: skip
