"""The protocol's protobuf messages.

Field by field those of `open_inference_grpc.proto` in
https://github.com/kserve/open-inference-protocol, and `properties` of a model's metadata, which the
protocol's own Python client has. They are made from a table and not generated: generated code fits
one major version of protobuf only, and registers its names in a pool where those of a client's
library would clash with them.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"

# A field is a number and a type: a scalar, a message's name, "repeated …", "map …" from strings,
# or "one of …", of which a message has one.
Fields = dict[str, tuple[int, str]]

_PARAMETERS = "map InferParameter"

_MESSAGES: dict[str, Fields] = {
    "ServerLiveRequest": {},
    "ServerLiveResponse": {"live": (1, "bool")},
    "ServerReadyRequest": {},
    "ServerReadyResponse": {"ready": (1, "bool")},
    "ModelReadyRequest": {"name": (1, "string"), "version": (2, "string")},
    "ModelReadyResponse": {"ready": (1, "bool")},
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": {
        "name": (1, "string"),
        "version": (2, "string"),
        "extensions": (3, "repeated string"),
    },
    "ModelMetadataRequest": {"name": (1, "string"), "version": (2, "string")},
    "ModelMetadataResponse": {
        "name": (1, "string"),
        "versions": (2, "repeated string"),
        "platform": (3, "string"),
        "inputs": (4, "repeated ModelMetadataResponse.TensorMetadata"),
        "outputs": (5, "repeated ModelMetadataResponse.TensorMetadata"),
        "properties": (6, "map string"),
    },
    "ModelMetadataResponse.TensorMetadata": {
        "name": (1, "string"),
        "datatype": (2, "string"),
        "shape": (3, "repeated int64"),
    },
    "ModelInferRequest": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "parameters": (4, _PARAMETERS),
        "inputs": (5, "repeated ModelInferRequest.InferInputTensor"),
        "outputs": (6, "repeated ModelInferRequest.InferRequestedOutputTensor"),
        "raw_input_contents": (7, "repeated bytes"),
    },
    "ModelInferRequest.InferInputTensor": {
        "name": (1, "string"),
        "datatype": (2, "string"),
        "shape": (3, "repeated int64"),
        "parameters": (4, _PARAMETERS),
        "contents": (5, "InferTensorContents"),
    },
    "ModelInferRequest.InferRequestedOutputTensor": {
        "name": (1, "string"),
        "parameters": (2, _PARAMETERS),
    },
    "ModelInferResponse": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "parameters": (4, _PARAMETERS),
        "outputs": (5, "repeated ModelInferResponse.InferOutputTensor"),
        "raw_output_contents": (6, "repeated bytes"),
    },
    "ModelInferResponse.InferOutputTensor": {
        "name": (1, "string"),
        "datatype": (2, "string"),
        "shape": (3, "repeated int64"),
        "parameters": (4, _PARAMETERS),
        "contents": (5, "InferTensorContents"),
    },
    "InferParameter": {
        "bool_param": (1, "one of bool"),
        "int64_param": (2, "one of int64"),
        "string_param": (3, "one of string"),
        "double_param": (4, "one of double"),
        "uint64_param": (5, "one of uint64"),
    },
    "InferTensorContents": {
        "bool_contents": (1, "repeated bool"),
        "int_contents": (2, "repeated int32"),
        "int64_contents": (3, "repeated int64"),
        "uint_contents": (4, "repeated uint32"),
        "uint64_contents": (5, "repeated uint64"),
        "fp32_contents": (6, "repeated float"),
        "fp64_contents": (7, "repeated double"),
        "bytes_contents": (8, "repeated bytes"),
    },
}

ONE_OF = "parameter_choice"

_Field = descriptor_pb2.FieldDescriptorProto


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="open_inference.proto", package=PACKAGE, syntax="proto3"
    )
    made: dict[str, descriptor_pb2.DescriptorProto] = {}
    for name, fields in _MESSAGES.items():
        outer, _, own = name.rpartition(".")
        message = (
            made[outer].nested_type.add(name=own) if outer else file.message_type.add(name=own)
        )
        made[name] = message
        for field, (number, kind) in fields.items():
            _add(message, name, field, number, kind)
    return file


def _add(
    message: descriptor_pb2.DescriptorProto, path: str, name: str, number: int, kind: str
) -> None:
    field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    rule, _, base = kind.rpartition(" ")
    if rule == "map":  # which is a list of pairs, with a name that protobuf finds
        pair = "".join(word.title() for word in name.split("_")) + "Entry"
        entry = message.nested_type.add(name=pair)
        entry.options.map_entry = True
        _add(entry, "", "key", 1, "string")
        _add(entry, "", "value", 2, base)
        rule, base = "repeated", f"{path}.{pair}"
    if rule == "repeated":
        field.label = _Field.LABEL_REPEATED
    elif rule == "one of":
        if not message.oneof_decl:
            message.oneof_decl.add(name=ONE_OF)
        field.oneof_index = 0
    if base[0].isupper():
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{PACKAGE}.{base}"
    else:
        field.type = _Field.Type.Value(f"TYPE_{base.upper()}")


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())


def of(name: str) -> Any:  # noqa: ANN401  its fields are known when it runs
    """Return a message's class, by its name in the package."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))
