"""Who waits for one another and for nobody else: knots of a wait-for graph."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping


def knots(edges: Mapping[int, Collection[int]]) -> list[frozenset[int]]:
    """The strongly connected components that no edge leaves, of those that have an edge; the largest first.

    wPerf (OSDI 2018): what is outside of a knot cannot hold it up, so each has a bottleneck of its own.
    """
    component = _components(edges)
    leaving = {component[node] for node, others in edges.items() for other in others
               if component[other] != component[node]}  # fmt: skip
    members: dict[int, set[int]] = {}
    for node, number in component.items():
        members.setdefault(number, set()).add(node)
    found = [frozenset(some) for number, some in members.items()
             if number not in leaving and any(edges.get(node) for node in some)]  # fmt: skip
    return sorted(found, key=lambda some: (-len(some), min(some)))


def _components(edges: Mapping[int, Collection[int]]) -> dict[int, int]:
    """A number for each node, the same for those that reach one another (Kosaraju, without recursion)."""
    nodes = sorted({*edges, *(other for others in edges.values() for other in others)})
    back: dict[int, list[int]] = {}
    for node, others in edges.items():
        for other in others:
            back.setdefault(other, []).append(node)
    order: list[int] = []
    seen: set[int] = set()
    for node in nodes:
        order += _finished(node, edges, seen)
    found: dict[int, int] = {}
    seen = set()
    for node in reversed(order):
        for one in _finished(node, back, seen):
            found[one] = node
    return found


def _finished(start: int, edges: Mapping[int, Iterable[int]], seen: set[int]) -> list[int]:
    """All that is reached from a node and was not seen before, in the order in which a depth-first search leaves it."""
    if start in seen:
        return []
    seen.add(start)
    order, stack = [], [(start, iter(edges.get(start, ())))]
    while stack:
        node, others = stack[-1]
        for other in others:
            if other not in seen:
                seen.add(other)
                stack.append((other, iter(edges.get(other, ()))))
                break
        else:
            order.append(node)
            stack.pop()
    return order
