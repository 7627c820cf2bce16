"""The graph that a model folder carries, as OpenVINO IR or ONNX, made to look like the one built from weights.

Exporters name their inputs alike and their outputs not: token states are pooled here as the folder says; a graph that
gives sentence vectors only has pooled for itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from analect.embedders._bert import BertConfig, pooled, unit
from analect.engine import import_openvino
from analect.errors import ModelError

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_STATES = ("last_hidden_state", "token_embeddings")
_SENTENCES = ("sentence_embedding",)


def read_graph(path: Path, *, config: BertConfig) -> Any:
    """Return an `openvino.Model`: `ids` and `mask` int32 (n, length) → float32 (n, hidden), unit L2 norm.

    Raises `ModelError` when the file cannot be read, or has inputs or outputs that nobody knows what to do with.
    """
    try:
        return _wrapped(import_openvino().Core().read_model(path), path=path, config=config)
    except RuntimeError as error:  # of OpenVINO, over many lines
        lines = str(error).strip().splitlines() or [""]
        raise ModelError(f"{path} is no graph that OpenVINO can run: {lines[-1].strip()}") from error


def _wrapped(graph: Any, *, path: Path, config: BertConfig) -> Any:
    openvino = import_openvino()
    op = openvino.opset13
    ids = op.parameter([-1, -1], np.int32, name="ids")
    mask = op.parameter([-1, -1], np.int32, name="mask")
    given = {
        "input_ids": ids,
        "attention_mask": mask,
        "token_type_ids": op.broadcast(op.constant(np.int32(0)), op.shape_of(ids)),  # one text is one segment
    }
    for parameter in graph.get_parameters():
        output = parameter.output(0)
        name = next((name for name in _INPUTS if name in output.names), None)
        if name is None:
            raise ModelError(f"{path} wants an input {parameter.friendly_name!r}; analect gives {', '.join(_INPUTS)}")
        value = op.convert(given[name], output.element_type.to_dtype()).output(0)
        for reader in output.get_target_inputs():
            reader.replace_source_output(value)
    states = _node(graph, _STATES, rank=3)
    sentences = _node(graph, _SENTENCES, rank=2)
    if states is not None:
        vectors = pooled(op, states, op.convert(mask, "f32"), pooling=config.pooling)
    elif sentences is not None:
        vectors = unit(op, op.convert(sentences, "f32"))
    else:
        there = ", ".join(sorted(output.any_name for output in graph.outputs if output.names)) or "none with a name"
        raise ModelError(f"{path} has none of the outputs {', '.join((*_STATES, *_SENTENCES))}: there is {there}")
    whole = openvino.Model([vectors], [ids, mask], "graph")
    width = whole.output(0).partial_shape[1]
    if width.is_static and width.get_length() != config.hidden:
        raise ModelError(f"{path} gives vectors of {width.get_length()} components, config.json says {config.hidden}")
    return whole


def _node(graph: Any, names: tuple[str, ...], *, rank: int) -> Any:
    """Return what the graph gives under one of those names, or, when it gives one thing only, that."""
    outputs = graph.outputs
    for output in outputs:
        if output.names & set(names) or (len(outputs) == 1 and output.partial_shape.rank.get_length() == rank):
            return output.get_node().input_value(0)
    return None
