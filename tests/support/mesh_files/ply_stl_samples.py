"""PLY and STL files in the dialects of many programs."""

# ruff: noqa: E501 (one row a file)

from __future__ import annotations

import struct

from tests.support.mesh_files.shapes import (
    CUBE,
    CUBE_BOX,
    CUBE_QUADS,
    CUBE_TRIANGLES,
    L_BOX,
    QUAD_UV,
    TRIANGLE_UV,
    UV_AREA,
    Sample,
    cube,
    prism,
)

MIXED = [tuple(map(int, t)) for t in CUBE_TRIANGLES[:2]] + CUBE_QUADS[1:]
XYZ = "property float x\nproperty float y\nproperty float z\n"
LIST = "property list uchar uint vertex_indices\n"


def ply(name: str, head: str, body: str | bytes, form: str = "ascii", ending: str = "\n", **known) -> Sample:
    data = f"ply\nformat {form} 1.0\n{head}end_header\n".replace("\n", ending).encode()
    return Sample(f"{name}.ply", {f"{name}.ply": data + (body.encode() if isinstance(body, str) else body)}, **known)


def rows(items) -> str:
    return "".join(" ".join(f"{v:g}" for v in row) + "\n" for row in items)


def faces(polygons) -> str:
    return rows((len(p), *p) for p in polygons)


def binary(mark: str, polygons=MIXED, points=CUBE, after: bytes = b"") -> bytes:
    data = b"".join(struct.pack(mark + "3f", *p) for p in points)
    return data + b"".join(struct.pack(f"{mark}B{len(p)}I", len(p), *p) for p in polygons) + after


def head(points: int, polygons: int, vertex: str = XYZ, face: str = LIST, before: str = "", after: str = "") -> str:
    return f"{before}element vertex {points}\n{vertex}element face {polygons}\n{face}{after}"


def with_texcoord() -> bytes:
    data = b"".join(struct.pack("<3f", *p) for p in CUBE)
    for quad, uv in zip(CUBE_QUADS, QUAD_UV, strict=True):
        data += struct.pack("<B4iB8fi", 4, *quad, 8, *uv.reshape(-1), 0)
    return data


BIG, LITTLE = "binary_big_endian", "binary_little_endian"
CORNERS = [
    (*CUBE[i], *uv) for t, uvs in zip(CUBE_TRIANGLES, TRIANGLE_UV, strict=True) for i, uv in zip(t, uvs, strict=True)
]
SINGLE = [tuple(range(3 * i, 3 * i + 3)) for i in range(12)]
ST = XYZ + "property float s\nproperty float t\n"
PRISM, PRISM_FACES = prism(3)
STRIP = "0 0 0\n1 0 0\n0 1 0\n1 1 0\n5 0 5\n6 0 5\n5 1 5\n"
STRIPS = "element vertex 7\n" + XYZ + "element tristrips 1\nproperty list int int vertex_indices\n"
STRIP_BOX = ((0, 0, 0), (6, 1, 5))

PLY_SAMPLES = [
    ply("plain", head(8, 6), rows(CUBE) + faces(CUBE_QUADS), **cube()),
    ply("mixed_text", head(8, 7), rows(CUBE) + faces(MIXED), **cube()),
    ply("mixed_little", head(8, 7), binary("<"), LITTLE, **cube()),
    ply("mixed_big", head(8, 7), binary(">"), BIG, **cube()),
    ply("edges", head(8, 6, after="element edge 1\nproperty int vertex1\nproperty int vertex2\n"), binary("<", CUBE_QUADS, after=struct.pack("<2i", 0, 7)), LITTLE, **cube()),
    ply("edges_text", head(8, 6, after="element edge 1\nproperty int vertex1\nproperty int vertex2\n"), rows(CUBE) + faces(CUBE_QUADS) + "0 7\n", **cube()),
    ply("edges_cut_off", head(8, 6, after="element edge 9\nproperty int vertex1\nproperty int vertex2\n"), binary("<", CUBE_QUADS), LITTLE, **cube(), blender="refuses"),
    ply("other_element_first", head(8, 7, before="element camera 2\nproperty double a\nproperty list uchar short b\n"), struct.pack("<dB2hdB", 1, 2, 5, 6, 2, 0) + binary("<"), LITTLE, **cube()),
    ply("other_element_first_text", head(8, 7, before="element camera 2\nproperty double a\nproperty list uchar short b\n"), "1 2 5 6\n2 0\n" + rows(CUBE) + faces(MIXED), **cube()),
    ply("faces_before_vertices", f"element face 6\n{LIST}element vertex 8\n{XYZ}", faces(CUBE_QUADS) + rows(CUBE), **cube()),
    ply("order_of_properties", head(8, 6, "property uchar red\nproperty double z\nproperty float y\nproperty float nx\nproperty double x\n"), rows((9, z, y, 0, x) for x, y, z in CUBE) + faces(CUBE_QUADS), **cube()),
    ply("integers", head(8, 6, XYZ.replace("float", "short"), LIST.replace("uint", "uchar")), b"".join(struct.pack("<3h", *map(int, p)) for p in CUBE) + b"".join(struct.pack("<5B", 4, *q) for q in CUBE_QUADS), LITTLE, **cube()),
    ply("sized_type_names", head(8, 6, XYZ.replace("float", "float64"), "property list int32 int64 vertex_index\n".replace("int64", "uint16")), b"".join(struct.pack("<3d", *p) for p in CUBE) + b"".join(struct.pack("<i4H", 4, *q) for q in CUBE_QUADS), LITTLE, **cube()),
    ply("more_in_a_face", head(8, 6, face="property uchar red\n" + LIST + "property float quality\nproperty list uchar float more\n"), rows(CUBE) + rows((1, 4, *q, 0.5, 2, 7, 8) for q in CUBE_QUADS), **cube()),
    ply("comments", head(8, 6, before="comment made by hand\nobj_info num_cols 512\ncomment element face 3\n"), rows(CUBE) + faces(CUBE_QUADS), **cube()),
    ply("crlf", head(8, 6), (rows(CUBE) + faces(CUBE_QUADS)).replace("\n", "\r\n"), ending="\r\n", **cube()),
    ply("crlf_head_binary", head(8, 7), binary("<"), LITTLE, "\r\n", **cube()),
    ply("cr_only", head(8, 6), (rows(CUBE) + faces(CUBE_QUADS)).replace("\n", "\r"), ending="\r", **cube(), blender="refuses"),
    ply("blank_lines", head(8, 6), rows(CUBE).replace("\n", "\n\n") + faces(CUBE_QUADS).replace(" ", "\t "), **cube(), blender="refuses"),
    ply("after_the_end", head(8, 7), binary("<", after=b"more"), LITTLE, **cube()),
    ply("s_t", head(36, 12, ST), rows(CORNERS) + faces(SINGLE), **cube(uv=UV_AREA)),
    ply("u_v", head(36, 12, ST.replace(" s", " u").replace(" t\n", " v\n")), rows(CORNERS) + faces(SINGLE), **cube(uv=UV_AREA), blender="knows s, t only"),
    ply("texture_u", head(36, 12, ST.replace(" s", " texture_u").replace(" t\n", " texture_v\n")), rows(CORNERS) + faces(SINGLE), **cube(uv=UV_AREA), blender="knows s, t only"),
    ply("texcoord", head(8, 6, face="property list uchar int vertex_indices\nproperty list uchar float texcoord\nproperty int texnumber\n"), with_texcoord(), LITTLE, **cube(uv=UV_AREA), blender="knows s, t only"),
    ply("texcoord_in_some", head(8, 2, face="property list uchar int vertex_indices\nproperty list uchar float texcoord\n"), rows(CUBE) + "4 0 1 3 2 8 0 0 .5 0 .5 .5 0 .5\n4 4 6 7 5 0\n", area=8.0, box=CUBE_BOX, uv=0.25, blender="knows s, t only"),
    ply("concave", head(12, 8), rows(PRISM) + faces(PRISM_FACES), area=22.0, volume=5.0, box=L_BOX),
    ply("concave_binary", head(12, 8), binary(">", PRISM_FACES, PRISM), BIG, area=22.0, volume=5.0, box=L_BOX),
    ply("tristrips", STRIPS, STRIP + "8 0 1 2 3 -1 4 5 6\n", area=1.5, box=STRIP_BOX, facing=(0, 0, 1)),
    ply("tristrips_binary", STRIPS, b"".join(struct.pack(">3f", *map(float, line.split())) for line in STRIP.splitlines()) + struct.pack(">10i", 9, 0, 1, 2, 3, -1, 4, 5, 6, -1), BIG, area=1.5, box=STRIP_BOX, facing=(0, 0, 1)),
    ply("far_double", head(8, 6, XYZ.replace("float", "double")), b"".join(struct.pack("<3d", x / 10 + 5e5, y / 10 + 5.5e6, z / 10 + 120) for x, y, z in CUBE) + b"".join(struct.pack("<B4I", 4, *q) for q in CUBE_QUADS), LITTLE, area=0.24, volume=0.008, box=((499999.9, 5499999.9, 119.9), (500000.1, 5500000.1, 120.1)), blender="keeps 32 bits"),
    ply("property_twice", head(8, 6, XYZ + "property float x\n"), rows((*p, 9) for p in CUBE) + faces(CUBE_QUADS), refused=("cannot be read", "'vertex' twice")),
    ply("half_an_index", head(8, 6, face=LIST.replace("uint", "float")), rows(CUBE) + faces(CUBE_QUADS).replace(" 1", " 1.5"), refused=("cannot be read", "vertex 1.5")),
    ply("cut_off", head(8, 7), binary("<")[:-5], LITTLE, refused=("cannot be read", "ends early")),
    ply("cut_off_text", head(8, 7), rows(CUBE) + faces(MIXED[:-1]), refused=("cannot be read", "ends early")),
    ply("huge_count", head(8, 4_000_000_000), binary("<"), LITTLE, refused=("ends early",)),
    ply("huge_other", head(8, 7, before="element x 4000000000\nproperty int a\n"), binary("<"), LITTLE, refused=("ends early",)),
    ply("index_beyond", head(8, 6), rows(CUBE) + faces(CUBE_QUADS).replace("7", "8"), refused=("vertex 8",)),
    ply("index_negative", head(8, 6, face=LIST.replace("uint", "int")), rows(CUBE) + faces(CUBE_QUADS).replace("7", "-1"), refused=("vertex -1",)),
    ply("no_z", head(8, 6, XYZ.replace("z", "w")), rows(CUBE) + faces(CUBE_QUADS), refused=("x, y and z",)),
    ply("points", "element vertex 8\n" + XYZ, rows(CUBE), refused=("no faces",)),
    ply("unknown_type", head(8, 6, XYZ.replace("float", "quad")), rows(CUBE) + faces(CUBE_QUADS), refused=("property quad x",)),
    ply("word", head(8, 6), rows(CUBE).replace("1", "one", 1) + faces(CUBE_QUADS), refused=("no numbers",)),
    ply("too_many_values", head(8, 6), rows(CUBE).replace("\n", " 5\n", 1) + faces(CUBE_QUADS), refused=("row 1 of 'vertex'", "too many")),
    ply("not_a_number", head(8, 6), rows(CUBE).replace("1", "nan", 1) + faces(CUBE_QUADS), refused=("not numbers",)),
    Sample("no_end.ply", {"no_end.ply": b"ply\nformat ascii 1.0\nelement vertex 8\n"}, refused=("header has no end",)),
    Sample("json.ply", {"json.ply": b'{"message": "not found"}'}, refused=("cannot be read",)),
    Sample("empty.ply", {"empty.ply": b""}, refused=("empty",)),
]  # fmt: skip

RECORDS = b"".join(struct.pack("<12fH", 0, 0, 0, *CUBE[t].reshape(-1), 0) for t in CUBE_TRIANGLES)
TEXT = "solid cube\n" + "".join(
    "facet normal 0 0 0\n outer loop\n" + "".join(f"  vertex {x:g} {y:g} {z:g}\n" for x, y, z in CUBE[t]) + " endloop\nendfacet\n"
    for t in CUBE_TRIANGLES) + "endsolid cube\n"  # fmt: skip


def stl(name: str, data: bytes | str, **known) -> Sample:
    name += "" if name.lower().endswith(".stl") else ".stl"
    return Sample(name, {name: data.encode() if isinstance(data, str) else data}, **known)


def binary_stl(title: bytes = b"made by hand", count: int = 12, records: bytes = RECORDS) -> bytes:
    return title.ljust(80) + struct.pack("<I", count) + records


STL_SAMPLES = [
    stl("plain", binary_stl(), **cube()),
    stl("UPPER.STL", binary_stl(), **cube()),
    stl("begins_with_solid", binary_stl(b"solid cube"), **cube()),
    stl("solid_and_more_after", binary_stl(b"solid cube\0") + b"colors", **cube(), blender="takes it for text"),
    stl("after_the_end", binary_stl() + bytes(77), **cube(), blender="refuses"),
    stl("attributes", binary_stl(records=b"".join(struct.pack("<12fH", 0, 0, 1, *CUBE[t].reshape(-1), 0x7FFF) for t in CUBE_TRIANGLES)), **cube()),
    stl("text", TEXT, **cube()),
    stl("text_odd_case", TEXT.upper(), **cube(), blender="knows small letters only"),
    stl("text_one_line", TEXT.replace("\n", " "), **cube(), blender="reads lines"),
    stl("text_tabs_crlf", TEXT.replace(" ", "\t").replace("\n", "\r\n"), **cube()),
    stl("text_cr_only", TEXT.replace("\n", "\r"), **cube(), blender="reads lines"),
    stl("text_mark", b"\xef\xbb\xbf" + TEXT.encode(), **cube()),
    stl("text_indented", "\n " + TEXT, **cube()),
    stl("text_no_name", TEXT.replace(" cube", ""), **cube()),
    stl("text_exponents", TEXT.replace(" 1", " 1.0e+00").replace(" -1", " -1E0"), **cube()),
    stl("text_filled_up_short", TEXT.encode() + bytes(40), **cube()),
    stl("text_filled_up", TEXT.encode() + b"\x1a" + bytes(9000), **cube()),
    stl("text_then_blanks", TEXT + " \n" * 4000, **cube()),
    stl("text_two_solids", TEXT + TEXT.replace("vertex 1", "vertex 9").replace("vertex -1", "vertex 7"), area=48.0, volume=16.0, box=((-1, -1, -1), (9, 1, 1))),
    stl("cut_off", binary_stl()[:-200], refused=("cannot be read", "8 of 12")),
    stl("cut_off_head", binary_stl()[:60], refused=("cannot be read",)),
    stl("cut_off_text", TEXT[:-300], refused=("cannot be read", "ends early")),
    stl("cut_off_text_between", TEXT[: TEXT.rindex("facet normal")], refused=("cannot be read", "ends early")),
    stl("facet_of_two", TEXT.replace("  vertex", "  vartex", 1), refused=("cannot be read", "damaged")),
    stl("word", TEXT.replace("vertex 1", "vertex one", 1), refused=("cannot be read", "no number")),
    stl("web_page", "<!DOCTYPE html><html>404</html>\n" * 5, refused=("cannot be read", "web page")),
    stl("json", '{"message": "API rate limit exceeded", "documentation_url": "https://docs.invalid/rest/overview/rates"}', refused=("cannot be read", "no STL")),
    stl("empty", b"", refused=("cannot be read", "empty")),
    stl("nothing", binary_stl(count=0, records=b""), refused=("no faces",)),
    stl("count_never_written", binary_stl(count=0), refused=("cannot be read", "promises 0 triangles")),
    stl("nothing_text", "solid\nendsolid\n", refused=("no faces",)),
    stl("not_a_number", binary_stl(records=RECORDS.replace(struct.pack("<f", -1), struct.pack("<f", float("nan")), 1)), refused=("not numbers",)),
    stl("huge_count", binary_stl(count=4_000_000_000), refused=("cannot be read", "ends early")),
]  # fmt: skip

SAMPLES = [*PLY_SAMPLES, *STL_SAMPLES]
