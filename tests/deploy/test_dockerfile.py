"""The `Dockerfile`: its packages, the order of its steps, and what it shares with the bento."""

import os
import re
import subprocess

import pytest
import yaml

from tests.conftest import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMMANDS = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", "")
# The stages by name. The last stage has no name: it is the image.
STAGES = {
    text.partition("\n")[0].partition(" AS ")[2]: text
    for text in re.split(r"^FROM ", COMMANDS, flags=re.MULTILINE)[1:]
}
BENTOFILE = yaml.safe_load((ROOT / "bentofile.yaml").read_text(encoding="utf-8"))


def test_it_installs_without_a_compiler_and_by_hashes_alone() -> None:
    assert not re.search(r"\b(apt|apt-get|build-essential|gcc|git)\b", COMMANDS)
    pips = re.findall(r"pip --python .*", COMMANDS)
    assert len(pips) == 2
    assert all("--require-hashes" in pip and "--only-binary :all:" in pip for pip in pips)
    # The address and credentials of the package index are mounted, not stored in the image.
    assert "index-url" not in COMMANDS
    assert COMMANDS.count("--mount=type=secret,id=pip.conf") == 2


def test_packages_come_before_the_models_and_do_not_change_with_them() -> None:
    assert re.findall(r"^COPY (.+)$", STAGES["packages"], re.MULTILINE) == [
        "requirements/serve${VARIANT:+-$VARIANT}.txt /build/requirements.txt"
    ]
    assert re.findall(r"^COPY --from=(\w+) ", STAGES[""], re.MULTILINE) == [
        "packages",
        "sbom",
        "source",
    ]


@pytest.mark.parametrize("variant", ["", "grpc", "gpu", "tracing"])
def test_a_variant_is_the_same_image_with_other_packages(variant: str) -> None:
    command = ["make", "--dry-run", "image", f"VARIANT={variant}", "ENGINE=docker"]
    environment = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"}
    text = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert re.findall(r"--build-arg VARIANT=(\S*)", text) == [variant]
    assert re.findall(r"^ARG VARIANT=$", STAGES["packages"], re.MULTILINE)
    assert (ROOT / f"requirements/serve{variant and '-' + variant}.txt").is_file()


def test_the_image_is_made_of_the_files_of_a_bento() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    included = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert included == {path.strip("/") for path in BENTOFILE["include"]} | {"bentofile.yaml"}


def test_it_has_the_base_and_the_variables_of_bentos_image() -> None:
    base = BENTOFILE["docker"]["base_image"]
    assert re.findall(r"^ARG BASE_IMAGE=(\S+)$", COMMANDS, re.MULTILINE) == [base]
    variables = dict(re.findall(r"(\w+)=(\S+)", STAGES[""]))
    assert {one["name"]: one["value"] for one in BENTOFILE["envs"]}.items() <= variables.items()
