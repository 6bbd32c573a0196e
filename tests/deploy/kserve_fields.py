"""Says which fields of an InferenceService KServe does not know, one a line.

`.venv-kserve/bin/python tests/deploy/kserve_fields.py < MANIFEST`; KServe has an environment of its
own, because it is large.
"""

import re
import sys
from collections.abc import Iterator
from typing import Any

import yaml
from kserve import models
from kubernetes import client


def unknown(kind: str, value: Any, path: str) -> Iterator[str]:  # noqa: ANN401
    container = re.fullmatch(r"(list\[|dict\(str, )(.+)[\])]", kind)
    if container:
        items = enumerate(value) if kind.startswith("list") else value.items()
        for key, item in items:
            yield from unknown(container[2], item, f"{path}.{key}")
        return
    model = getattr(models, kind, None) or getattr(client, kind, None)
    if model is None:  # a string, a number
        return
    attributes = {name: attribute for attribute, name in model.attribute_map.items()}
    for name, item in value.items():
        if name in attributes:
            yield from unknown(model.openapi_types[attributes[name]], item, f"{path}.{name}")
        else:
            yield f"{path}.{name}"


manifest = yaml.safe_load(sys.stdin)
for field in unknown("V1beta1InferenceService", manifest, manifest["kind"]):
    print(field)
