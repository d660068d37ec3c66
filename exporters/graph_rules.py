"""What TF Serving demands of the graph inside a SavedModel, read from its protocol buffers without running it.

Each function takes the MetaGraphDef (or the directory) and returns the rules it breaks as sentences.

Reference: tensorflow/serving `model_servers/BUILD` (the ops linked) and `main.cc` (XLA off).
"""

import re
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from tensorflow.core.framework import node_def_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from albert_gpt_tf.exporters.signature_rules import serving_signatures, signature_problems

# The op libraries of tensorflow_text that TF Serving links (`ops_lib`), with the ops each registers. Serving 2.14 to
# 2.19 holds tensorflow_text 2.12.1, which has neither RoundRobinTrim, RoundRobinGenerateMasks nor Utf8Binarize.
TEXT_OPS = {
    "python/ops/_boise_offset_converter.so": ["TFText>BoiseTagsToOffsets", "TFText>OffsetsToBoiseTags"],
    "python/ops/_byte_splitter.so": ["TFText>ByteSplitByOffsets", "TFText>ByteSplitWithOffsets"],
    "python/ops/_constrained_sequence_op.so": ["ConstrainedSequence"],
    "python/ops/_fast_bert_normalizer.so": ["FastBertNormalize"],
    "python/ops/_fast_sentencepiece_tokenizer.so": [
        "TFText>FastSentencepieceDetokenize",
        "TFText>FastSentencepieceTokenize",
    ],
    "python/ops/_fast_wordpiece_tokenizer.so": ["FastWordpieceTokenizeWithOffsets", "TFText>FastWordpieceDetokenize"],
    "python/ops/_mst_ops.so": ["MaxSpanningTree"],
    "python/ops/_ngrams_op.so": ["TFText>NgramsStringJoin"],
    "python/ops/_normalize_ops.so": [
        "CaseFoldUTF8",
        "FindSourceOffsets",
        "NormalizeUTF8",
        "NormalizeUTF8WithOffsetsMap",
    ],
    "python/ops/_phrase_tokenizer.so": ["PhraseTokenize", "TFText>PhraseDetokenize"],
    "python/ops/_regex_split_ops.so": ["RegexSplitWithOffsets"],
    "python/ops/_sentence_breaking_ops.so": ["SentenceFragments"],
    "python/ops/_sentencepiece_tokenizer.so": [
        "SentencepieceDetokenizeOp",
        "SentencepieceIdToStringOp",
        "SentencepieceOp",
        "SentencepieceStringToIdOp",
        "SentencepieceTokenizeOp",
        "SentencepieceTokenizeWithOffsetsOp",
        "SentencepieceVocabSizeOp",
    ],
    "python/ops/_split_merge_from_logits_tokenizer.so": ["TokenizerFromLogits"],
    "python/ops/_split_merge_tokenizer.so": ["SplitMergeTokenizeWithOffsets"],
    "python/ops/_state_based_sentence_breaker_op.so": ["SentenceFragmentsV2"],
    "python/ops/_unicode_script_tokenizer.so": ["UnicodeScriptTokenizeWithOffsets"],
    "python/ops/_whitespace_tokenizer.so": ["WhitespaceTokenizeWithOffsets"],
    "python/ops/_whitespace_tokenizer_v2.so": ["TFText>WhitespaceTokenizeWithOffsetsV2"],
    "python/ops/_wordpiece_tokenizer.so": ["WordpieceTokenizeWithOffsets"],
    "python/metrics/_text_similarity_metric_ops.so": ["RougeL"],
}
_MUST_COMPILE = "_XlaMustCompile is true, and TF Serving has XLA off: drop jit_compile=True."
PYTHON_OPS = {"PyFunc", "PyFuncStateless", "EagerPyFunc", "NumpyFunction"}

# A protocol buffer cannot be larger, so a bigger file is one that no server can read.
MAX_GRAPH_BYTES = 2**31 - 1
# Numbers of a graph that take more are weights; position tables and masks take less.
MAX_CONSTANT_BYTES = 2**24

_TABLE_WRITES = re.compile(r"LookupTable(Insert|Import|Remove)(V2)?|(Anonymous)?Mutable(Dense)?HashTable\w*")
_VARIABLE_WRITES = re.compile(
    r"Assign(Add|Sub)?(VariableOp)?|(Sparse|Resource(Sparse)?)?Apply\w+|(Resource)?Scatter(Nd)?(Add|Sub|Mul|Div|Min|Max|Update)"
    r"|ResourceStridedSliceAssign|StridedSliceAssign|ResourceCountUpTo|CountUpTo"
)
_STATEFUL_RANDOM = re.compile(
    r"(Risc)?Random(Uniform(Int)?|StandardNormal|Shuffle|Gamma|Poisson(V2)?|Crop|Dataset(V2)?|ShuffleQueue(V2)?)"
    r"|TruncatedNormal|ParameterizedTruncatedNormal|Multinomial|SampleDistortedBoundingBox(V2)?|NonDeterministicInts"
    r"|Stateful(Uniform\w*|StandardNormal\w*|TruncatedNormal|RandomBinomial)|Rng(ReadAnd)?Skip(V2)?"
    r"|(Anonymous|Delete)RandomSeedGenerator|(\w+Unigram|Uniform|LogUniform|All)CandidateSampler"
)
# A file of the machine that exported: a whole value such as /home/me/vocab.txt, or one baked into the name of a table
# (tf.lookup names a table hash_table_/home/me/vocab.txt_-2_-1).
_PATH = re.compile(r"(?:file://)?/(?:[^/\0\n]+/)+[^/\0\n]+|[A-Za-z]:\\.+")
_PATH_INSIDE = re.compile(r"(?:^|_)(?:/[\w.\-~+ ]+){2,}|[A-Za-z]:\\")
_DEVICE = re.compile(r"/(?:job|replica|task|device|cpu|gpu):", re.IGNORECASE)
_TEXT_ATTRIBUTES = {"pattern", "rewrite", "message", "equation", "config_proto", "config"}


def read_meta_graph(path) -> meta_graph_pb2.MetaGraphDef:
    """Reads the graph that a server loads (the one tagged `serve`).

    Args:
        path: str or Path, a SavedModel directory.

    Returns:
        A MetaGraphDef.

    Raises:
        ValueError: `path` holds no SavedModel, or none tagged `serve`.
    """
    file = Path(path) / "saved_model.pb"
    if not file.is_file():
        raise ValueError(
            f"Expected a SavedModel directory, one that holds saved_model.pb. Received: {str(path)!r}. "
            "Pass the directory that export_saved_model wrote, including its version number."
        )
    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString(file.read_bytes())
    except Exception as error:  # the type differs between the protobuf implementations
        raise ValueError(
            f"Expected a SavedModel protocol buffer. Received: {str(file)!r}, which cannot be parsed. Export it again."
        ) from error
    for meta_graph in saved.meta_graphs:
        if "serve" in meta_graph.meta_info_def.tags:
            return meta_graph
    tags = [list(meta_graph.meta_info_def.tags) for meta_graph in saved.meta_graphs]
    raise ValueError(
        f"Expected a graph tagged 'serve', the only one a server loads. Received: {str(file)!r} with tags {tags}. "
        "Export it with tf.saved_model.save."
    )


def graph_problems(path, meta_graph: meta_graph_pb2.MetaGraphDef) -> list[str]:
    """Checks every rule that can be read from the graph.

    Args:
        path: str or Path, the SavedModel directory.
        meta_graph: MetaGraphDef, as `read_meta_graph` returned it.

    Returns:
        A list of sentences, empty if no rule is broken.
    """
    return [
        *op_problems(meta_graph),
        *state_problems(meta_graph),
        *constant_problems(meta_graph),
        *signature_problems(meta_graph),
        *path_problems(path, meta_graph),
    ]


def size_problems(path) -> list[str]:
    """Checks, before it is read, that saved_model.pb stays under the 2 GB that a protocol buffer may have."""
    file = Path(path) / "saved_model.pb"
    size = file.stat().st_size if file.is_file() else 0
    return (
        []
        if size <= MAX_GRAPH_BYTES
        else [f"saved_model.pb has {size} bytes, a server reads at most {MAX_GRAPH_BYTES}: keep weights in variables."]
    )


def op_problems(meta_graph: meta_graph_pb2.MetaGraphDef) -> list[str]:
    """Checks that the server has a kernel for every op, and that none needs Python or XLA."""
    library = {function.signature.name for function in meta_graph.graph_def.library.function}
    # tf.raw_ops lists the ops of TensorFlow itself, whatever other libraries this process has loaded.
    allowed = set(dir(tf.raw_ops)).union(library, *TEXT_OPS.values())
    problems = []
    for where, node in _every_node(meta_graph):
        here = f"{where}, node {node.name!r}"
        if node.op in PYTHON_OPS:
            problems.append(f"{here}: {node.op} calls Python, which a server does not have.")
        elif "Xla" in node.op:
            problems.append(f"{here}: {node.op} needs XLA, which TF Serving does not link.")
        elif node.op not in allowed:
            problems.append(f"{here}: {node.op} is not an op of TensorFlow or of tensorflow_text 2.12.1.")
        if _must_compile(node):
            problems.append(f"{here}: {_MUST_COMPILE}")
    for function in meta_graph.graph_def.library.function:
        if _must_compile(function):
            problems.append(f"function {function.signature.name!r}: {_MUST_COMPILE}")
    return problems


def _must_compile(node_or_function) -> bool:
    # Asking a protobuf map for a missing key would add it.
    return "_XlaMustCompile" in node_or_function.attr and node_or_function.attr["_XlaMustCompile"].b


def state_problems(meta_graph: meta_graph_pb2.MetaGraphDef) -> list[str]:
    """Checks that no request changes what the next one sees: no growing table, no assignment, no random state."""
    problems = []
    for name, signature in serving_signatures(meta_graph).items():
        for where, node in _reachable_nodes(meta_graph, signature):
            here = f"signature {name!r}: {where}, node {node.name!r}"
            if _TABLE_WRITES.fullmatch(node.op):
                problems.append(f"{here}: {node.op} is a table that can grow while serving: use StaticHashTable.")
            elif _VARIABLE_WRITES.fullmatch(node.op):
                problems.append(f"{here}: {node.op} changes a variable while serving: keep state out of the signature.")
            elif _STATEFUL_RANDOM.fullmatch(node.op):
                problems.append(f"{here}: {node.op} keeps random state: use tf.random.stateless_* with a seed input.")
    return problems


def constant_problems(meta_graph: meta_graph_pb2.MetaGraphDef) -> list[str]:
    """Checks that weights are variables: as constants they are copied with the graph and count towards its 2 GB."""
    problems = []
    for where, node in _every_node(meta_graph):
        size = node.attr["value"].tensor.ByteSize() if node.op == "Const" else 0
        if size > MAX_CONSTANT_BYTES and tf.dtypes.as_dtype(node.attr["value"].tensor.dtype).is_floating:
            problems.append(f"{where}, node {node.name!r}: a constant of {size} bytes: keep weights in variables.")
    return problems


def path_problems(path, meta_graph: meta_graph_pb2.MetaGraphDef) -> list[str]:
    """Checks that the export takes its files along and names no file of the machine that wrote it."""
    problems = []
    for asset in meta_graph.asset_file_def:
        if Path(asset.filename).is_absolute() or ".." in Path(asset.filename).parts:
            problems.append(f"asset {asset.filename!r} lies outside of the SavedModel.")
        elif not (Path(path) / "assets" / asset.filename).is_file():
            problems.append(f"asset {asset.filename!r} is missing from the SavedModel's assets folder.")
    for where, node in _every_node(meta_graph):
        for key, value in node.attr.items():
            for text in _texts(key, value):
                named = key in ("shared_name", "container", "table_name") and _PATH_INSIDE.search(text)
                if named or (_PATH.fullmatch(text) and not _DEVICE.search(text)):
                    problems.append(
                        f"{where}, node {node.name!r}, attribute {key!r} holds the path {text!r} of the machine that "
                        "exported: track the file as tf.saved_model.Asset, or build the table from tensors."
                    )
    return problems


def _texts(key: str, value) -> Iterator[str]:
    if key in _TEXT_ATTRIBUTES:
        return
    if value.HasField("tensor"):
        # A scalar may be a file name; a vector is a vocabulary, whose entries may look like anything.
        tensor = value.tensor
        found = tensor.string_val if not tensor.tensor_shape.dim else []
    else:
        found = [value.s, *value.list.s]
    for item in found:
        if 1 < len(item) < 4096:  # PATH_MAX; larger values are models and vocabularies
            yield item.decode("utf-8", "replace")


def _every_node(meta_graph: meta_graph_pb2.MetaGraphDef) -> Iterator[tuple[str, node_def_pb2.NodeDef]]:
    yield from (("graph", node) for node in meta_graph.graph_def.node)
    for function in meta_graph.graph_def.library.function:
        yield from ((f"function {function.signature.name!r}", node) for node in function.node_def)


def _reachable_nodes(
    meta_graph: meta_graph_pb2.MetaGraphDef, signature: meta_graph_pb2.SignatureDef
) -> Iterator[tuple[str, node_def_pb2.NodeDef]]:
    """Walks from a signature's outputs through the graph and every function it calls.

    Restore and initialisation functions are not reachable, and so may assign variables and fill tables.
    """
    nodes = {node.name: node for node in meta_graph.graph_def.node}
    functions = {function.signature.name: function for function in meta_graph.graph_def.library.function}
    tensors = [*signature.inputs.values(), *signature.outputs.values()]
    names = [info.name for info in tensors] + [
        part.name for info in tensors for part in info.composite_tensor.components if part.name
    ]
    waiting, called, seen = [_node_name(name) for name in names], [], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        waiting += [_node_name(tensor) for tensor in nodes[name].input]
        called += _called_functions(nodes[name], functions)
        yield "graph", nodes[name]
    seen_functions = set()
    while called:
        name = called.pop()
        if name in seen_functions:
            continue
        seen_functions.add(name)
        for node in functions[name].node_def:
            called += _called_functions(node, functions)
            yield f"function {name!r}", node


def _node_name(tensor: str) -> str:
    return tensor.removeprefix("^").split(":")[0]


def _called_functions(node: node_def_pb2.NodeDef, functions: dict) -> list[str]:
    names = [node.op]
    for value in node.attr.values():
        names += [value.func.name, *(function.name for function in value.list.func)]
    return [name for name in names if name in functions]
