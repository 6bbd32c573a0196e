"""The protocol's protobuf messages.

They have the fields of `open_inference_grpc.proto` in
https://github.com/kserve/open-inference-protocol, and `properties` in a model's metadata, as in the
protocol's own Python client. They are built from a table, because generated code supports only one
major version of protobuf, and its names would clash with a client library's in the global pool.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"

# A scalar type or a message's name; in a list if repeated, in a dict if a map.
Kind = str | list[str] | dict[str, str]

_PARAMETERS: dict[str, Kind] = {"parameters": {"string": "InferParameter"}}
_TENSOR: dict[str, Kind] = {"name": "string", "datatype": "string", "shape": ["int64"]}
_MODEL: dict[str, Kind] = {"model_name": "string", "model_version": "string", "id": "string"}

# The fields of each message, in the order of their numbers, which count from 1 without gaps.
_MESSAGES: dict[str, dict[str, Kind]] = {
    "ServerLiveRequest": {},
    "ServerLiveResponse": {"live": "bool"},
    "ServerReadyRequest": {},
    "ServerReadyResponse": {"ready": "bool"},
    "ModelReadyRequest": {"name": "string", "version": "string"},
    "ModelReadyResponse": {"ready": "bool"},
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": {"name": "string", "version": "string", "extensions": ["string"]},
    "ModelMetadataRequest": {"name": "string", "version": "string"},
    "ModelMetadataResponse": {
        "name": "string",
        "versions": ["string"],
        "platform": "string",
        "inputs": ["TensorMetadata"],
        "outputs": ["TensorMetadata"],
        "properties": {"string": "string"},
    },
    "TensorMetadata": _TENSOR,
    "ModelInferRequest": {
        **_MODEL,
        **_PARAMETERS,
        "inputs": ["InferTensor"],
        "outputs": ["InferRequestedOutput"],
        "raw_input_contents": ["bytes"],
    },
    "ModelInferResponse": {
        **_MODEL,
        **_PARAMETERS,
        "outputs": ["InferTensor"],
        "raw_output_contents": ["bytes"],
    },
    "InferTensor": {**_TENSOR, **_PARAMETERS, "contents": "InferTensorContents"},
    "InferRequestedOutput": {"name": "string", **_PARAMETERS},
    "InferParameter": {
        "bool_param": "bool",
        "int64_param": "int64",
        "string_param": "string",
        "double_param": "double",
        "uint64_param": "uint64",
    },
    "InferTensorContents": {
        "bool_contents": ["bool"],
        "int_contents": ["int32"],
        "int64_contents": ["int64"],
        "uint_contents": ["uint32"],
        "uint64_contents": ["uint64"],
        "fp32_contents": ["float"],
        "fp64_contents": ["double"],
        "bytes_contents": ["bytes"],
    },
}

ONE_OF = "parameter_choice"  # over an InferParameter's fields

_Field = descriptor_pb2.FieldDescriptorProto


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="open_inference.proto", package=PACKAGE, syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        _fill(file.message_type.add(name=name), fields)
    choice = next(each for each in file.message_type if each.name == "InferParameter")
    choice.oneof_decl.add(name=ONE_OF)
    for field in choice.field:
        field.oneof_index = 0
    return file


def _fill(message: descriptor_pb2.DescriptorProto, fields: dict[str, Kind]) -> None:
    for number, (name, kind) in enumerate(fields.items(), start=1):
        field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
        if isinstance(kind, str):
            base = kind
        elif isinstance(kind, list):
            field.label = _Field.LABEL_REPEATED
            (base,) = kind
        else:  # a map is a repeated pair with the name that protobuf expects
            field.label = _Field.LABEL_REPEATED
            pair = message.nested_type.add(name=name.title().replace("_", "") + "Entry")
            pair.options.map_entry = True
            ((key, value),) = kind.items()
            _fill(pair, {"key": key, "value": value})
            base = f"{message.name}.{pair.name}"
        if base[0].isupper():
            field.type, field.type_name = _Field.TYPE_MESSAGE, f".{PACKAGE}.{base}"
        else:
            field.type = _Field.Type.Value(f"TYPE_{base.upper()}")


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())


def of(name: str) -> Any:  # noqa: ANN401  its fields are known only at run time
    """Return a message's class, by its name in the package."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))
