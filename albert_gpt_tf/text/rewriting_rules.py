"""Compile character rewriting rules into SentencePiece's "charsmap", and read them back.

A charsmap is a double-array trie of the sources, as byte strings, and the targets, each ended by a NUL. SentencePiece
rewrites from left to right, the longest source first, and never looks at a target again. Its own compiler takes whole
characters only; this one takes any bytes, so that one rule can be about all characters that begin with a byte.

Layout: size of the trie in bytes (uint32), the trie (uint32 units), the targets. A unit of the trie has

    bits 0-7   the label: the byte that leads here; bit 31 with it, which is 0 except for values
    bit 8      whether a value hangs below, at the place of label 0
    bits 9-31  the offset to the children: place of a child = place of the parent ^ offset ^ label of the child

and the unit of a value has bit 31 set and, below it, where the target starts.

Reference: google/sentencepiece, `normalizer.cc` (EncodePrecompiledCharsMap); Darts-clone, "double-array unit".
"""

from collections.abc import Mapping

import numpy as np

_VALUE = 1 << 31
_HAS_VALUE = 1 << 8
_MAX_OFFSET = 1 << 21  # larger offsets have a second form, which rules of this size never need


def compile_rules(rules: Mapping[bytes, bytes]) -> bytes:
    """Compiles rewriting rules.

    Args:
        rules: source -> target, bytes without NUL; a source is not empty, a target may be.

    Returns:
        bytes: the charsmap, for `normalizer_spec.precompiled_charsmap`; empty if there are no rules.

    Raises:
        ValueError: a source is empty, or a NUL is in a rule.

    Example:
        >>> read_rules(compile_rules({b"A": b"a", b"''": b'"'}))
        {b"''": b'"', b'A': b'a'}
    """
    if not rules:
        return b""
    if b"" in rules or any(b"\0" in source or b"\0" in target for source, target in rules.items()):
        raise ValueError("Expected rules of bytes without NUL, from sources that are not empty. Received: others.")
    starts, targets = {}, bytearray()
    for target in sorted(set(rules.values())):
        starts[target] = len(targets)
        targets += target + b"\0"

    # The trie as nested dicts; None leads to the value.
    root: dict = {}
    for source, target in rules.items():
        node = root
        for byte in source:
            node = node.setdefault(byte, {})
        node[None] = starts[target]
    units = _place(root)
    return np.uint32(units.nbytes).tobytes() + units.tobytes() + bytes(targets)


def _place(root: dict) -> np.ndarray:
    """Gives every node of the trie its place in the array."""
    units = np.zeros(256, np.uint32)
    is_free = np.ones(256, bool)
    is_free[0] = False  # the root
    # Two nodes may not share a base, or each would see the other's children; the first of each block is left to none.
    base_is_taken = np.arange(256) == 0
    first_block = 0  # the blocks of 256 before it are nearly full
    queue = [(root, 0)]
    for node, place in queue:
        labels = np.array([0 if byte is None else byte for byte in node])
        # Parent and children must lie within one form of offsets: any base below _MAX_OFFSET will do.
        block = first_block
        while True:
            if (block + 1) * 256 > len(units):
                units = np.concatenate([units, np.zeros(256, np.uint32)])
                is_free = np.concatenate([is_free, np.ones(256, bool)])
                base_is_taken = np.concatenate([base_is_taken, np.arange(256) == 0])
            bases = np.arange(block * 256, (block + 1) * 256)
            fits = is_free[bases[:, np.newaxis] ^ labels].all(1) & ~base_is_taken[bases]
            if fits.any():
                break
            block += 1
        while first_block < block and is_free[first_block * 256 : (first_block + 1) * 256].sum() < 16:
            first_block += 1
        base = int(bases[fits][0])
        base_is_taken[base] = True
        is_free[base ^ labels] = False
        offset = place ^ base
        if offset >= _MAX_OFFSET:
            raise ValueError(f"Expected a trie of fewer than {_MAX_OFFSET} units. Received: {len(units)}.")
        units[place] |= np.uint32(offset << 10 | (_HAS_VALUE if None in node else 0))
        for byte, child in node.items():
            if byte is None:
                units[base] = _VALUE | child
            else:
                units[base ^ byte] = byte
                queue.append((child, base ^ byte))
    # A free unit carries the label that it would have below the base which no node has: none takes it for a child.
    for start in range(0, len(units), 256):
        free = start + np.flatnonzero(is_free[start : start + 256])
        units[free] = free - start
    return units


def read_rules(charsmap: bytes) -> dict[bytes, bytes]:
    """Lists the rules of a charsmap.

    Args:
        charsmap: bytes, compiled rules.

    Returns:
        dict: source -> target, in the order of the sources.
    """
    if not charsmap:
        return {}
    size = int(np.frombuffer(charsmap, np.uint32, 1)[0])
    units = np.frombuffer(charsmap, np.uint32, size // 4, 4).tolist()
    targets = charsmap[4 + size :]
    rules = {}
    stack = [(b"", 0)]
    while stack:
        source, place = stack.pop()
        unit = units[place]
        base = place ^ (unit >> 10 << ((unit & 1 << 9) >> 6))
        if unit & _HAS_VALUE:
            start = units[base] & ~_VALUE
            rules[source] = targets[start : targets.index(b"\0", start)]
        for byte in range(1, 256):
            child = base ^ byte
            if child < len(units) and units[child] & (_VALUE | 0xFF) == byte:
                stack.append((source + bytes([byte]), child))
    return dict(sorted(rules.items()))
