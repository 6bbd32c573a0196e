"""Print the fields of an InferenceService that KServe does not accept, one per line.

Run `.venv-kserve/bin/python tests/deploy/kserve_fields.py < MANIFEST`. KServe has its own
environment because it is large.
"""

import re
import sys
from collections.abc import Iterator
from typing import Any

import yaml
from kserve import models
from kubernetes import client

# Other scalars (quantities, times, ports) may have several types and are not checked.
SCALARS = {"str": str, "int": int, "bool": bool}


def mistakes(kind: str, value: Any, path: str) -> Iterator[str]:  # noqa: ANN401
    """Yield the path of each field that is unknown or has the wrong type.

    Args:
        kind: The type required, as in the clients' `openapi_types`.
        value: The value in the manifest.
        path: The path of the value in the manifest.
    """
    # KServe's client writes list[str] and dict(str, str); Kubernetes' List[str] and Dict[str, str].
    container = re.fullmatch(r"([Ll]ist\[|[Dd]ict[(\[]str, )(.+)[\])]", kind)
    model = getattr(models, kind, None) or getattr(client, kind, None)
    if container:
        if not isinstance(value, list if container[1] in {"list[", "List["} else dict):
            yield path
            return
        items = enumerate(value) if isinstance(value, list) else value.items()
        for key, item in items:
            yield from mistakes(container[2], item, f"{path}.{key}")
    elif model is not None:
        if not isinstance(value, dict):
            yield path
            return
        attributes = {name: attribute for attribute, name in model.attribute_map.items()}
        for name, item in value.items():
            if name in attributes:
                yield from mistakes(model.openapi_types[attributes[name]], item, f"{path}.{name}")
            else:
                yield f"{path}.{name}"
    elif kind in SCALARS and type(value) is not SCALARS[kind]:  # not isinstance: True is an int
        yield path


manifest = yaml.safe_load(sys.stdin)
for field in mistakes("V1beta1InferenceService", manifest, manifest["kind"]):
    print(field)
