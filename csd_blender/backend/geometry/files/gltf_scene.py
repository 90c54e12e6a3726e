"""The nodes of a glTF file: which meshes the scene shows, where, and how joints move them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .common import BadFile
from .gltf_data import Document, entry, integer, numbers

PLACE = {"matrix", "translation", "rotation", "scale"}  # what a node says of its own place


@dataclass(frozen=True)
class Placement:
    """A mesh at a place.

    Attributes:
        mesh: its number in the file. name: that of the object.
        node: that shows it, or None without nodes. skin: number of the skin, or None. weights: of the morph targets.
    """

    mesh: int
    name: str
    node: int | None
    skin: int | None
    weights: tuple[float, ...]


class Scene:
    """The tree of nodes with the place of each.

    Raises:
        BadFile: for a node with two parents or below itself, and for numbers that name nothing.
    """

    def __init__(self, document: Document):
        self.document = document
        self.nodes = document.list_of("nodes")
        self._children = [self._child_numbers(i) for i in range(len(self.nodes))]
        parents = [0] * len(self.nodes)
        for children in self._children:
            for child in children:
                parents[child] += 1
        if max(parents, default=0) > 1:
            raise BadFile(f"node {parents.index(max(parents))} has {max(parents)} parents")
        self._roots = [i for i, count in enumerate(parents) if count == 0]
        self._order = list(self._roots)  # parents before children
        for number in self._order:
            self._order += self._children[number]
        if len(self._order) < len(self.nodes):
            raise BadFile("its nodes form a circle")
        self._matrices: np.ndarray | None = None

    def matrices(self, nodes: list[int]) -> np.ndarray:
        """``[N, 4, 4]`` from the given nodes to the scene; those of all are worked out at the first call."""
        if self._matrices is None:
            self._matrices = np.broadcast_to(np.eye(4), (len(self.nodes), 4, 4)).copy()
            for number in self._order:
                node = self.nodes[number]
                if PLACE & node.keys():
                    self._matrices[number] = self._matrices[number] @ _own_matrix(node, f"node {number}")
                children = self._children[number]
                if children:
                    self._matrices[children] = self._matrices[number]
        return self._matrices[nodes]

    def _child_numbers(self, number: int) -> list[int]:
        children = entry(self.nodes, number, "node").get("children", [])
        if not isinstance(children, list):
            raise BadFile(f"node {number} has children that are no list")
        for child in children:
            entry(self.nodes, child, "node")
        return children

    def placements(self) -> list[Placement]:
        """The meshes of the default scene, of the first one when none is named, of all nodes when there are none."""
        scenes = self.document.list_of("scenes")
        shown = self._roots
        if scenes:
            shown = entry(scenes, self.document.data.get("scene", 0), "scene").get("nodes", [])
            if not isinstance(shown, list):
                raise BadFile("its scene has nodes that are no list")
            for number in shown:
                entry(self.nodes, number, "node")
        found, seen, waiting = [], set(), list(reversed(shown))
        while waiting:
            number = waiting.pop()
            if number in seen:
                continue
            seen.add(number)
            waiting += reversed(self._children[number])
            if self.nodes[number].get("mesh") is not None:
                found.append(self._placement(number))
        if not self.nodes:
            meshes = range(len(self.document.list_of("meshes")))
            return [Placement(i, self._name({}, i), None, None, self._weights({}, i)) for i in meshes]
        return found

    def _placement(self, number: int) -> Placement:
        node = self.nodes[number]
        mesh = integer(node, "mesh", None, f"node {number}")
        entry(self.document.data.get("meshes"), mesh, "mesh")
        skin = None if node.get("skin") is None else integer(node, "skin", None, f"node {number}")
        return Placement(mesh, self._name(node, mesh), number, skin, self._weights(node, mesh))

    def _name(self, node: dict, mesh: int) -> str:
        declared = entry(self.document.data.get("meshes"), mesh, "mesh")
        return next((n[:200] for n in (node.get("name"), declared.get("name")) if isinstance(n, str) and n), "")

    def _weights(self, node: dict, mesh: int) -> tuple[float, ...]:
        """Of the node, or else of its mesh."""
        declared = entry(self.document.data.get("meshes"), mesh, "mesh")
        values = node.get("weights", declared.get("weights", []))
        if not isinstance(values, list):
            raise BadFile(f"the weights of mesh {mesh} are no list")
        return tuple(numbers(values, len(values), f"the list of weights of mesh {mesh}").tolist())

    def joint_matrices(self, skin: int) -> np.ndarray:
        """``[J, 4, 4]``, each from the mesh's rest position to the scene."""
        declared = entry(self.document.data.get("skins"), skin, "skin")
        joints = declared.get("joints")
        if not isinstance(joints, list) or not joints:
            raise BadFile(f"skin {skin} has no joints")
        for joint in joints:
            entry(self.nodes, joint, "node")
        places = self.matrices(joints)
        if declared.get("inverseBindMatrices") is None:
            return places
        inverse = self.document.accessor(declared["inverseBindMatrices"], ("MAT4",), "inverse bind matrices")
        if inverse.count < len(joints):
            raise BadFile(f"skin {skin} has {inverse.count} inverse bind matrices for {len(joints)} joints")
        back = inverse.numbers(np.arange(len(joints))).reshape(-1, 4, 4).transpose(0, 2, 1)
        return places @ back


def _own_matrix(node: dict, what: str) -> np.ndarray:
    """``[4, 4]`` from a node's ``matrix`` (column by column) or its translation, rotation (x, y, z, w) and scale."""
    if node.get("matrix") is not None:
        matrix = numbers(node["matrix"], 16, f"the matrix of {what}").reshape(4, 4).T.copy()
        matrix[3] = 0, 0, 0, 1
        return matrix
    matrix = np.eye(4)
    if node.get("rotation") is not None:
        x, y, z, w = numbers(node["rotation"], 4, f"the rotation of {what}")
        length = np.sqrt(x * x + y * y + z * z + w * w)
        if not 1e-9 < length < 1e9:
            raise BadFile(f"the rotation of {what} is none")
        x, y, z, w = (value / length for value in (x, y, z, w))
        matrix[:3, :3] = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    if node.get("scale") is not None:
        matrix[:3, :3] *= numbers(node["scale"], 3, f"the scale of {what}")
    if node.get("translation") is not None:
        matrix[:3, 3] = numbers(node["translation"], 3, f"the translation of {what}")
    return matrix
