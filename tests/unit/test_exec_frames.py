"""What the probe wrote of call stacks becomes frames, or is told as no tree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from probes.events import FRAMES
from probes.exec import frames
from probes.exec.frames import Functions, Tree
from profiler.errors import ProbeLoss
from tests.unit.test_exec_decode import hooks

MAIN, READ, VFS, VFS_TOO, COPY = range(5)
LOST = (0, -1)
ROOT = (0, -1)
Node = tuple[int, int]
"""The caller's number, and a function."""

# main > read > vfs_read, whose second piece is called by the first
NODES: list[Node] = [ROOT, LOST, (0, MAIN), (2, READ), (3, VFS), (3, VFS_TOO), (5, VFS)]


def functions() -> Functions:
    told = hooks()
    told.functions = [*told.functions, ("memcpy", "kernel", "library")]
    return Functions.of(told)


def read(folder: Path, nodes: Sequence[Node], used: Sequence[int], shared: Sequence[str] = ()) -> Tree:
    np.array(nodes, dtype=frames._NODE).tofile(folder / "stacks.bin")
    return frames.read(folder / "stacks.bin", functions(), shared, np.array(used, dtype=np.int64))


def rows(tree: Tree) -> list[tuple[int, str]]:
    table = tree.table()
    assert table.schema == FRAMES
    table.validate(full=True)
    return [(row["caller"], row["function"]) for row in table.to_pylist()]


def test_pieces_of_one_function_are_one_frame(tmp_path: Path) -> None:
    tree = read(tmp_path, NODES, [4, 5, 6])
    assert rows(tree) == [(-1, "main"), (0, "read"), (1, "vfs_read"), (2, "vfs_read")]
    assert tree.frames_of(np.array([2, 3, 4, 5, 6])).tolist() == [0, 1, 2, 2, 3]
    assert tree.of_events(np.array([6, frames.NO_STACK])).tolist() == [3, -1]


def test_only_what_is_used_and_its_callers(tmp_path: Path) -> None:
    assert rows(read(tmp_path, NODES, [3])) == [(-1, "main"), (0, "read")]
    assert rows(read(tmp_path, NODES, [])) == []
    assert rows(read(tmp_path, NODES, [1])) == [(-1, frames.LOST)]


def test_shared_functions_take_the_layer_of_a_caller_of_the_kernels(tmp_path: Path) -> None:
    nodes = [ROOT, LOST, (0, MAIN), (2, COPY), (2, VFS), (4, COPY), (5, COPY), (0, COPY)]
    tree = read(tmp_path, nodes, [3, 6, 7], ["memcpy"])
    layers = dict(zip(tree.frames_of(np.array([3, 5, 6, 7])).tolist(), [3, 5, 6, 7], strict=True))
    by_node = {layers[row["frame"]]: row["layer"] for row in tree.table().to_pylist() if row["frame"] in layers}
    assert by_node == {3: "library", 5: "vfs", 6: "vfs", 7: "library"}


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param([], id="nothing"),
        pytest.param([ROOT], id="a root only"),
        pytest.param([(1, -1), LOST, (0, MAIN)], id="a root that is called"),
        pytest.param([*NODES, (8, VFS), (4, VFS)], id="a caller behind its frame"),
        pytest.param([*NODES, (7, VFS)], id="a frame that calls itself"),
        pytest.param([*NODES, (8, VFS), (7, READ)], id="a circle of two"),
        pytest.param([*NODES, (2**32 - 1, VFS)], id="a caller that is not there"),
        pytest.param([*NODES, (2, 5)], id="a function that is not there"),
        pytest.param([*NODES, (2, -5)], id="a pseudo function that is not there"),
    ],
)
def test_no_tree(tmp_path: Path, nodes: list[Node]) -> None:
    with pytest.raises(ProbeLoss):
        read(tmp_path, nodes, [])


@pytest.mark.parametrize("used", [-1, 0, len(NODES), 2**31])
def test_a_stack_that_is_not_there(tmp_path: Path, used: int) -> None:
    with pytest.raises(ProbeLoss, match="lacks a stack"):
        read(tmp_path, NODES, [used])


def test_numbers_of_stacks_that_have_no_frame(tmp_path: Path) -> None:
    tree = read(tmp_path, NODES, [3])
    for node in (0, 6, len(NODES), 2**31):
        with pytest.raises(ValueError, match="stack"):
            tree.frames_of(np.array([node], dtype=np.int64))


def test_cut_short_or_missing(tmp_path: Path) -> None:
    with pytest.raises(ProbeLoss, match="missing"):
        frames.read(tmp_path / "stacks.bin", functions(), (), np.array([0]))
    (tmp_path / "stacks.bin").write_bytes(b"\0" * 15)
    with pytest.raises(ProbeLoss, match="cut short"):
        frames.read(tmp_path / "stacks.bin", functions(), (), np.array([0]))


def test_more_nodes_than_the_probe_has(tmp_path: Path) -> None:
    """Told by the file's size, before anything is read."""
    with (tmp_path / "stacks.bin").open("wb") as file:
        file.truncate((frames._NODES + 1) * frames._NODE.itemsize)
    with pytest.raises(ProbeLoss):
        frames.read(tmp_path / "stacks.bin", functions(), (), np.array([0]))


def test_stacks_deeper_than_the_probe_makes_them(tmp_path: Path) -> None:
    """One as deep as that is read; a chain of a million, which would take hours, is refused."""
    chain: list[Node] = [ROOT, LOST, (0, MAIN), *((n, VFS) for n in range(2, 2 + frames._DEPTH - 1))]
    assert len(rows(read(tmp_path, chain, [len(chain) - 1]))) == frames._DEPTH
    for deeper in (1, 1_000_000):
        numbers = np.arange(len(chain) + deeper)
        nodes = np.zeros(len(numbers), dtype=frames._NODE)
        nodes["parent"] = np.maximum(numbers - 1, 0)
        nodes["parent"][2], nodes["function"][:2] = 0, -1
        nodes.tofile(tmp_path / "stacks.bin")
        with pytest.raises(ProbeLoss, match="deep"):
            frames.read(tmp_path / "stacks.bin", functions(), (), numbers[-1:])
